"""Sixteen levels where a normal distribution is dense, times the largest magnitude of a block.

Dettmers et al. 2023, "QLoRA", section 3. With `double` the blocks' magnitudes are kept in eight bits too: their
distance from the mean, on 256 even levels of each 256 of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from plugins.quantization.blockwise import multiply, whole
from plugins.quantization.nibbles import look_up, pack, pair_table

LEVELS = torch.tensor([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
])  # fmt: skip
"""The NF4 data type, appendix E of the paper."""

NESTED_BLOCK = 256
NESTED_LEVELS = torch.linspace(-1, 1, 256)
EDGES = (LEVELS[1:] + LEVELS[:-1]) / 2


@dataclass(frozen=True, slots=True)
class Nested:
    """Magnitudes in eight bits: `mean + levels[codes] * reach`, a `reach` for each `block` of them in a row."""

    codes: Tensor
    """Flat, uint8."""
    reach: Tensor
    mean: float
    levels: Tensor
    block: int

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.reach.nbytes + 4

    def __call__(self, part: slice) -> Tensor:
        """The magnitudes with these flat indices, float32."""
        reach = self.reach[torch.arange(part.start, part.stop) // self.block]
        return self.levels[self.codes[part].int()] * reach + self.mean


@dataclass(frozen=True, slots=True)
class NormalCodes:
    """`packed [out, in / 2]`, two levels a byte; `reach [out, blocks]` or the same nested, flat."""

    packed: Tensor
    reach: Tensor | Nested
    blocks: int
    """In a row."""
    levels: Tensor

    @property
    def nbytes(self) -> int:
        return self.packed.nbytes + self.reach.nbytes

    def dense(self) -> Tensor:
        """What the codes stand for: `[out, in]`, float32."""
        return Nf4(self, None, torch.float32).dense()

    def reaches(self, rows: slice) -> Tensor:
        """`[rows, blocks]`, float32."""
        if isinstance(self.reach, Tensor):
            return self.reach[rows]
        flat = self.reach(slice(rows.start * self.blocks, rows.stop * self.blocks))
        return flat.view(-1, self.blocks)


def round_to_nearest(weight: Tensor, block: int, double: bool) -> NormalCodes:
    """`weight [out, in]` on the levels of its blocks."""
    grouped = weight.float().reshape(len(weight), -1, block)
    reach = grouped.abs().amax(-1)
    unit = grouped / reach.clamp(min=torch.finfo(torch.float32).tiny)[..., None]
    codes = torch.bucketize(unit, EDGES, out_int32=True).to(torch.uint8).flatten(1)
    kept = _nest(reach.flatten()) if double else reach
    return NormalCodes(pack(codes), kept, reach.shape[1], LEVELS)


def _nest(reach: Tensor) -> Nested:
    mean = float(reach.mean())
    blocks = F.pad(reach - mean, (0, -len(reach) % NESTED_BLOCK)).view(-1, NESTED_BLOCK)
    largest = blocks.abs().amax(1)
    unit = blocks / largest.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    codes = ((unit + 1) * (len(NESTED_LEVELS) - 1) / 2).round_().to(torch.uint8)
    return Nested(codes.flatten()[: len(reach)], largest, mean, NESTED_LEVELS, NESTED_BLOCK)


class Nf4:
    """`x [rows, in] -> [rows, out]` in x's type, the weight decoded a block at a time for each product."""

    __slots__ = ("_codes", "_dtype", "_table", "bias")

    kernel = "nf4 dequantized"

    def __init__(self, codes: NormalCodes, bias: Tensor | None, dtype: torch.dtype) -> None:
        self._codes = codes
        self._dtype = dtype
        self._table = pair_table(codes.levels.to(dtype))
        self.bias = bias

    @property
    def nbytes(self) -> int:
        return self._codes.nbytes + (0 if self.bias is None else self.bias.nbytes)

    def dense(self) -> Tensor:
        rows, half = self._codes.packed.shape
        return whole(rows, 2 * half, self._decode)

    def __call__(self, x: Tensor) -> Tensor:
        out = multiply(x, len(self._codes.packed), self._decode)
        return out if self.bias is None else out.add_(self.bias)

    def _decode(self, rows: slice) -> Tensor:
        values = look_up(self._codes.packed[rows], self._table, self._dtype)
        blocks = values.view(len(values), self._codes.blocks, -1)
        blocks.mul_(self._codes.reaches(rows)[..., None].to(self._dtype))
        return values
