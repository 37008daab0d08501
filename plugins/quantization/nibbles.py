"""Two numbers of four bits in a byte: the first in the low half."""

from __future__ import annotations

import torch
from torch import Tensor


def pack(codes: Tensor) -> Tensor:
    """`codes [..., n]`, uint8 below 16 and n even, as `[..., n / 2]` bytes."""
    assert codes.dtype == torch.uint8
    assert codes.shape[-1] % 2 == 0
    return codes[..., 0::2] | (codes[..., 1::2] << 4)


def unpack(packed: Tensor) -> Tensor:
    """The `[..., n]` numbers in `[..., n / 2]` bytes."""
    return torch.stack((packed & 15, packed >> 4), dim=-1).flatten(-2)


def pair_table(levels: Tensor) -> Tensor:
    """`[256, 2]`: the two of 16 `levels` that each byte stands for, so that one look-up decodes a byte."""
    return levels[unpack(torch.arange(256, dtype=torch.uint8)[:, None]).int()]


def look_up(packed: Tensor, table: Tensor) -> Tensor:
    """`[..., n / 2]` bytes through `pair_table`'s `[256, 2]`: `[..., n]` in the table's type."""
    return torch.nn.functional.embedding(packed.int(), table).flatten(-2)
