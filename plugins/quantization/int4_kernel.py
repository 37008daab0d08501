"""Four bits a weight in groups, in the layout of torch's own operator, which multiplies them as they lie.

The operator computes `(code - 8) * scale + offset`, all in bfloat16; an offset of a group is `(8 - zero) *
scale`, rounded. It is made for few rows. For many, the weight is decoded a block at a time out of the same bytes:

    [out / 64] blocks of [in][32] bytes,   a byte holding two of a block's 64 outputs

Which two is the operator's own affair and depends on the machine, so it is found out by packing numbers.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from plugins.quantization.blockwise import multiply, whole
from plugins.quantization.grid import MIDDLE, Codes
from plugins.quantization.nibbles import unpack

BLOCK = 64
GROUPS = (32, 64, 128, 256)
MOST_ROWS = 80
"""Up to here the operator is ahead of decoding."""


def has_kernel(codes: Codes, dtype: torch.dtype) -> bool:
    """Whether the operator takes these codes, and here."""
    fits = dtype == torch.bfloat16 and codes.group in GROUPS and len(codes.codes) % BLOCK == 0
    return fits and _halves() is not None


class Int4Kernel:
    """`x [rows, in] -> [rows, out]`, bfloat16. Inputs are in the order of the codes' columns."""

    __slots__ = ("_group", "_packed", "_scales", "bias")

    kernel = "int4pack"

    def __init__(self, codes: Codes, bias: Tensor | None) -> None:
        scale = codes.scale.float()
        offset = (MIDDLE - codes.zero.float()) * scale
        self._packed = _pack(codes.codes)
        self._scales = torch.stack((scale, offset), -1).transpose(0, 1).to(torch.bfloat16).contiguous()
        self._group = codes.group
        self.bias = bias

    @property
    def nbytes(self) -> int:
        return self._packed.nbytes + self._scales.nbytes + (0 if self.bias is None else self.bias.nbytes)

    @property
    def _out(self) -> int:
        return self._scales.shape[1]

    def dense(self) -> Tensor:
        return whole(self._out, len(self._scales) * self._group, self._decode, BLOCK)

    def __call__(self, x: Tensor) -> Tensor:
        if len(x) > MOST_ROWS:
            out = multiply(x, self._out, self._decode, BLOCK)
        else:
            out = torch.ops.aten._weight_int4pack_mm_for_cpu(x, self._packed, self._group, self._scales)
        return out if self.bias is None else out.add_(self.bias)

    def _decode(self, rows: slice) -> Tensor:
        halves = _halves()
        assert halves is not None
        inputs = len(self._scales) * self._group
        blocks = self._packed.view(-1, inputs, BLOCK // 2)[rows.start // BLOCK : rows.stop // BLOCK]
        pairs = blocks.transpose(1, 2).contiguous()  # while they are bytes
        values = torch.empty(len(blocks), BLOCK, inputs, dtype=torch.bfloat16)
        for outputs, codes in zip(halves, (pairs & 15, pairs >> 4), strict=True):
            values.index_copy_(1, outputs, codes.view(torch.int8).sub_(MIDDLE).to(torch.bfloat16))
        scale, offset = self._scales[:, rows].permute(2, 1, 0)[..., None]  # [out, groups, 1] each
        return values.view(len(scale), -1, self._group).mul_(scale).add_(offset).view(len(scale), inputs)


def _pack(codes: Tensor) -> Tensor:
    packed: Tensor = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes.int(), 2)
    return packed


@cache
def _halves() -> tuple[Tensor, Tensor] | None:
    """`[32]` each: the outputs of a block that are in the low halves of bytes, and those in the high ones.

    None where the operator is missing, or its layout is another one.
    """
    inputs = GROUPS[0]
    number = torch.arange(BLOCK)[:, None].expand(BLOCK, inputs)
    try:
        low, high = (
            unpack(_pack((number >> shift & 15).to(torch.uint8)).view(inputs, BLOCK // 2)) for shift in (0, 4)
        )
    except (AttributeError, RuntimeError):
        return None
    numbers = low.long() + 16 * high.long()
    one_layout = torch.equal(numbers, numbers[:1].expand_as(numbers))
    every_output = torch.equal(numbers[0].sort().values, torch.arange(BLOCK))
    return (numbers[0, 0::2], numbers[0, 1::2]) if one_layout and every_output else None
