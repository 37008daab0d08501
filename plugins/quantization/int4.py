"""Four bits a weight in groups: kept packed, decoded a block at a time for each product."""

from __future__ import annotations

import torch
from torch import Tensor

from plugins.quantization.blockwise import multiply, whole
from plugins.quantization.grid import Codes
from plugins.quantization.nibbles import pack_halves, unpack_halves


class Int4:
    """`x [rows, in] -> [rows, out]` in x's type. Inputs are in the order of the codes' columns."""

    __slots__ = ("_dtype", "_packed", "_scale", "_zero", "bias")

    kernel = "int4 dequantized"

    def __init__(self, codes: Codes, bias: Tensor | None, dtype: torch.dtype) -> None:
        self._packed = pack_halves(codes.codes)
        self._scale = codes.scale
        self._zero = codes.zero
        self._dtype = dtype
        self.bias = bias

    @property
    def nbytes(self) -> int:
        tensors = (self._packed, self._scale, self._zero)
        return sum(tensor.nbytes for tensor in tensors) + (0 if self.bias is None else self.bias.nbytes)

    def dense(self) -> Tensor:
        return whole(len(self._packed), 2 * self._packed.shape[1], self._decode)

    def __call__(self, x: Tensor) -> Tensor:
        out = multiply(x, len(self._packed), self._decode)
        return out if self.bias is None else out.add_(self.bias)

    def _decode(self, rows: slice) -> Tensor:
        values = unpack_halves(self._packed[rows], self._dtype)
        groups = values.view(len(values), self._scale.shape[1], -1)
        groups.sub_(self._zero[rows, :, None].to(self._dtype)).mul_(self._scale[rows, :, None].to(self._dtype))
        return values
