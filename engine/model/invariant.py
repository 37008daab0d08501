"""A forward pass in which a row's bits do not depend on the batch: every kernel sees one fixed shape.

Matrix products take another path, and add up in another order, when they get another number of rows. So rows
go through linear layers and norms `TILE_ROWS` at a time, the last ones with zeros beside them. What torch
computes one element at a time is the same wherever the element stands if it is one IEEE operation; functions
that are approximated (silu) have another formula for what is left over at the end of a thread's share, and are
therefore called a row at a time. Attention is in `invariant_attention`.

That a product of fixed shape gives a row the same bits wherever it stands, whatever stands beside it, is not
promised by any library: `tests/test_invariant.py` holds it on the machine that runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.model.decoder import Decoder
from engine.model.invariant_attention import attend_in_tiles
from engine.model.layer import Layer, Ways
from engine.model.norm import RMSNorm
from engine.model.projection import Projection

TILE_ROWS = 16


def invariant(decoder: Decoder) -> Decoder:
    """The same model on the same weights, every row of which has the same bits in every batch."""
    return replace(
        decoder,
        layers=tuple(map(_layer, decoder.layers)),
        final_norm=_norm(decoder.final_norm),
        lm_head=TiledProjection(decoder.lm_head),
        adapters=replace(decoder.adapters, multiply=multiply_tiled),
    )


def _layer(layer: Layer) -> Layer:
    return replace(
        layer,
        attn_norm=_norm(layer.attn_norm),
        qkv=TiledProjection(layer.qkv),
        q_norm=None if layer.q_norm is None else _norm(layer.q_norm),
        k_norm=None if layer.k_norm is None else _norm(layer.k_norm),
        o=TiledProjection(layer.o),
        mlp_norm=_norm(layer.mlp_norm),
        gate_up=TiledProjection(layer.gate_up),
        down=TiledProjection(layer.down),
        ways=INVARIANT,
    )


def _norm(norm: RMSNorm) -> RMSNorm:
    return TiledRMSNorm(norm.weight, norm.eps)


@dataclass(frozen=True, slots=True)
class TiledProjection:
    """A projection that only ever gets `[TILE_ROWS, in]`."""

    whole: Projection

    @property
    def kernel(self) -> str:
        return self.whole.kernel

    @property
    def bias(self) -> Tensor | None:
        return self.whole.bias

    @property
    def nbytes(self) -> int:
        return self.whole.nbytes

    def dense(self) -> Tensor:
        return self.whole.dense()

    def __call__(self, x: Tensor) -> Tensor:
        return in_tiles(self.whole, x)


class TiledRMSNorm(RMSNorm):
    """A norm that only ever gets `[TILE_ROWS, ...]`, its multiply-and-add as two operations, each rounded."""

    __slots__ = ()

    def __call__(self, x: Tensor) -> Tensor:
        return in_tiles(self._of_tile, x)

    def _of_tile(self, x: Tensor) -> Tensor:
        wide = x.float()
        length = torch.linalg.vector_norm(wide, 2, -1, keepdim=True)
        scale = (length * length).mul_(self._per_item).add_(self._eps).rsqrt_()
        normed: Tensor = (wide * scale).to(x.dtype).mul_(self.weight)
        return normed


def multiply_tiled(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight`, `TILE_ROWS` rows a call."""
    return in_tiles(lambda tile: tile @ weight, x)


def in_tiles(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function` of `x [rows, ...]`, `TILE_ROWS` rows a call, each call on memory of its own.

    Kernels may also go by how their operands are aligned, so a tile is never a view into something larger.
    """
    if len(x) == 0:
        return function(x)
    done = []
    for start in range(0, len(x), TILE_ROWS):
        part = x[start : start + TILE_ROWS]
        tile = x.new_zeros(TILE_ROWS, *x.shape[1:])
        tile[: len(part)] = part
        done.append(function(tile)[: len(part)])
    return done[0] if len(done) == 1 else torch.cat(done)


def rotate_rounded_(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """`rotate_`, its multiply-and-add as two operations: fused or not must not depend on the place."""
    swapped = x.roll(x.shape[-1] // 2, -1)
    x.mul_(cos).add_(swapped.mul_(sin))


def gate_by_row(gate: Tensor, up: Tensor) -> Tensor:
    """`silu(gate) * up`, `[rows, intermediate]`, a row a call."""
    out = torch.empty(gate.shape, dtype=gate.dtype)
    for row, values in zip(out, gate, strict=True):
        row.copy_(F.silu(values))
    return out.mul_(up)


INVARIANT = Ways(rotate_rounded_, attend_in_tiles, gate_by_row)
