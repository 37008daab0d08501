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


def pack_halves(codes: Tensor) -> Tensor:
    """As `pack`, but each number shares its byte with the one that is half a row further on."""
    assert codes.dtype == torch.uint8
    assert codes.shape[-1] % 2 == 0
    low, high = codes.chunk(2, dim=-1)
    return low | (high << 4)


def unpack_halves(packed: Tensor, dtype: torch.dtype) -> Tensor:
    """What `pack_halves` packed, `[..., n]` of a type. Faster than `unpack`: operations run along rows."""
    half = packed.shape[-1]
    numbers = torch.empty(*packed.shape[:-1], 2 * half, dtype=dtype)
    numbers[..., :half] = packed & 15
    numbers[..., half:] = packed >> 4
    return numbers


def pair_table(levels: Tensor) -> Tensor:
    """`[256]`: the two of 16 `levels` that each byte stands for, as one number: one look-up decodes a byte."""
    pairs = levels[unpack(torch.arange(256, dtype=torch.uint8)[:, None]).int()]
    return pairs.view(torch.int64 if levels.itemsize == 4 else torch.int32).flatten()


def look_up(packed: Tensor, table: Tensor, dtype: torch.dtype) -> Tensor:
    """`[..., n / 2]` bytes through the `pair_table` of levels of this type: `[..., n]`."""
    pairs = table.index_select(0, packed.flatten().int())
    return pairs.view(dtype).view(*packed.shape[:-1], -1)
