"""One decoder layer: its weights, and its computation as a generator of named stages."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.kv.pool import KVPool
from engine.model.attention import attend, mix, scores, span_kv
from engine.model.batch import Batch
from engine.model.lora.rows import RowAdapters
from engine.model.norm import RMSNorm
from engine.model.projection import Place, Projection, ProjectionName
from engine.model.rope import rotate_

Stage = tuple[int, str, Tensor]
"""(layer, stage, tensor); layer is -1 for the stages before and after the layers."""

Stages = Generator[Stage, Tensor | None, Tensor]
"""Yields stages, takes a replacement or None for each, returns the result."""


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """`silu(gate) * up`, all `[rows, intermediate]`."""
    return F.silu(gate).mul_(up)


@dataclass(frozen=True, slots=True)
class Ways:
    """How a layer computes what is neither a projection nor a norm; all layers of a model do it alike."""

    rotate: Callable[[Tensor, Tensor, Tensor], None]
    attend: Callable[[Tensor, KVPool, int, Batch, int | None], Tensor]
    gate: Callable[[Tensor, Tensor], Tensor]


FAST = Ways(rotate_, attend, gated)


@dataclass(frozen=True, slots=True)
class Pass:
    """What all layers of one forward pass share: `cos` and `sin` are `[tokens, 1, head_dim]`."""

    batch: Batch
    pool: KVPool
    cos: Tensor
    sin: Tensor
    explicit: frozenset[int]
    """Layers that show their attention scores and patterns as stages."""
    adapters: RowAdapters | None = None
    """What is added to the projections of some rows; None where no row has an adapter."""

    def project(self, layer: int, name: ProjectionName, projection: Projection, x: Tensor) -> Tensor:
        """`projection` of `x [tokens, in]`, with what the rows' adapters add to it: `[tokens, out]`."""
        y = projection(x)
        if self.adapters is not None:
            self.adapters.add_(Place(layer, name), x, y)
        return y


@dataclass(frozen=True, slots=True)
class Layer:
    index: int
    heads: int
    kv_heads: int
    head_dim: int
    window: int | None
    attn_norm: RMSNorm
    qkv: Projection
    q_norm: RMSNorm | None
    k_norm: RMSNorm | None
    o: Projection
    mlp_norm: RMSNorm
    gate_up: Projection
    down: Projection
    ways: Ways = FAST

    def stages(self, x: Tensor, run: Pass) -> Stages:
        """The residual stream `[tokens, hidden]` through this layer."""
        x = yield from self._attention(x, run)
        return (yield from self._mlp(x, run))

    def _attention(self, x: Tensor, run: Pass) -> Stages:
        i, heads, kv_heads = self.index, self.heads, self.kv_heads
        h = self.attn_norm(x)
        replace(h, (yield i, "attn_norm", h))

        qkv = run.project(i, "qkv", self.qkv, h).view(-1, heads + 2 * kv_heads, self.head_dim)
        q, k, v = qkv.split_with_sizes((heads, kv_heads, kv_heads), dim=1)
        if self.q_norm is not None and self.k_norm is not None:
            q.copy_(self.q_norm(q))
            k.copy_(self.k_norm(k))
        replace(q, (yield i, "q", q))
        replace(k, (yield i, "k", k))
        replace(v, (yield i, "v", v))

        self.ways.rotate(qkv[:, : heads + kv_heads], run.cos, run.sin)
        replace(q, (yield i, "q_rot", q))
        replace(k, (yield i, "k_rot", k))
        run.pool.write(i, run.batch.write_slots, qkv[:, heads:].view(-1, 2, kv_heads, self.head_dim))

        if i in run.explicit:
            out = yield from self._explicit_attention(q, run)
        else:
            out = self.ways.attend(q, run.pool, i, run.batch, self.window)
        replace(out, (yield i, "attn_out", out))
        h = run.project(i, "o", self.o, out.flatten(1))
        replace(h, (yield i, "attn_proj", h))
        x = x + h
        replace(x, (yield i, "resid_mid", x))
        return x

    def _explicit_attention(self, q: Tensor, run: Pass) -> Stages:
        """Attention written out, so that scores and patterns can be replaced: span after span."""
        out = torch.empty_like(q)
        for index, span in enumerate(run.batch.spans):
            rows = run.batch.rows(index)
            key, value = span_kv(run.pool, self.index, span)
            at = torch.arange(span.end)
            blind = span.blind_from(at, run.pool.block_size)
            weights = scores(q[rows], key, at[span.start :], at, self.window, blind)
            replace(weights, (yield self.index, "attn_scores", weights))
            weights = weights.softmax(dim=-1)
            replace(weights, (yield self.index, "attn_pattern", weights))
            out[rows] = mix(weights, value).to(out.dtype)
        return out

    def _mlp(self, x: Tensor, run: Pass) -> Stages:
        i = self.index
        h = self.mlp_norm(x)
        replace(h, (yield i, "mlp_norm", h))
        gate, up = run.project(i, "gate_up", self.gate_up, h).chunk(2, dim=-1)
        replace(gate, (yield i, "gate", gate))
        replace(up, (yield i, "up", up))
        h = run.project(i, "down", self.down, self.ways.gate(gate, up))
        replace(h, (yield i, "mlp_out", h))
        x = x + h
        replace(x, (yield i, "resid_post", x))
        return x


def replace(tensor: Tensor, sent: Tensor | None) -> None:
    """Puts what was sent for a stage in its tensor's place."""
    if sent is None:
        return
    if sent.shape != tensor.shape:
        raise ValueError(f"a stage of shape {list(tensor.shape)} cannot be replaced by {list(sent.shape)}")
    tensor.copy_(sent)
