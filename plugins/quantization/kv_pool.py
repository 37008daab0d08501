"""A pool that keeps keys and values in eight or four bits: each head of each token on levels of its own.

    8 bits   code * scale           scale = max |x| / 127
    4 bits   code * scale + low     scale = (max - min) / 15, two codes a byte

Scales and lows are kept in the compute type, and codes are chosen for them as they are kept. A token is rounded
once, when it is written; whoever reads it gets the same values ever after, for attention, to look at them, or out
of a copied block. They are in the compute type for as long as a layer's attention takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from engine.kv.pool import KVPool
from engine.model.config import ModelConfig

Bits = Literal[8, 4]
SMALLEST_SCALE = 2.0**-100


class QuantizedKVPool(KVPool):
    """`layers[i]` holds the codes, `[slots, 2, kv_heads, head_dim]` int8 or `[..., head_dim / 2]` uint8;
    `scales[i]` what they are times and, in four bits, over: `[slots, 2, kv_heads, 1 or 2]`."""

    def __init__(
        self, config: ModelConfig, num_blocks: int, block_size: int, dtype: torch.dtype, bits: Bits
    ) -> None:
        assert num_blocks >= 1
        assert block_size >= 1
        self.config = config
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.dtype = dtype
        self.bits = bits
        heads = (num_blocks * block_size, 2, config.kv_heads)
        codes = (*heads, config.head_dim * bits // 8)
        kind = torch.int8 if bits == 8 else torch.uint8
        self.layers = [torch.zeros(codes, dtype=kind) for _ in range(config.layers)]
        self.scales = [torch.zeros(*heads, 1 if bits == 8 else 2, dtype=dtype) for _ in range(config.layers)]

    @property
    def held(self) -> Sequence[Tensor]:
        return (*self.layers, *self.scales)

    def another(self, num_blocks: int) -> QuantizedKVPool:
        return QuantizedKVPool(self.config, num_blocks, self.block_size, self.dtype, self.bits)

    def write(self, layer: int, slots: Tensor, kv: Tensor) -> None:
        codes, scale = (_eight if self.bits == 8 else _four)(kv.float(), self.dtype)
        self.layers[layer].index_copy_(0, slots, codes)
        self.scales[layer].index_copy_(0, slots, scale)

    def gather(self, layer: int, slots: Tensor) -> Tensor:
        return self._decoded(self.layers[layer].index_select(0, slots), self.scales[layer].index_select(0, slots))

    def read(self, layer: int, run: slice) -> Tensor:
        return self._decoded(self.layers[layer][run], self.scales[layer][run])

    def _decoded(self, codes: Tensor, scale: Tensor) -> Tensor:
        if self.bits == 8:
            return codes.to(self.dtype).mul_(scale)
        levels = torch.stack((codes & 15, codes >> 4), -1).flatten(-2).to(self.dtype)
        return torch.addcmul(scale[..., 1:], levels, scale[..., :1])


def _eight(kv: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    scale = _held(kv.abs().amax(-1, keepdim=True) / 127, dtype)
    return (kv / scale).round_().to(torch.int8), scale


def _four(kv: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    low, high = kv.aminmax(dim=-1, keepdim=True)
    low, scale = low.to(dtype), _held((high - low) / 15, dtype)
    codes = ((kv - low) / scale).round_().clamp_(0, 15).to(torch.uint8)
    return codes[..., 0::2] | (codes[..., 1::2] << 4), torch.cat((scale, low), -1)


def _held(scale: Tensor, dtype: torch.dtype) -> Tensor:
    """A scale in the type that keeps it, never 0."""
    return scale.to(dtype).clamp_(min=max(SMALLEST_SCALE, torch.finfo(dtype).smallest_normal))
