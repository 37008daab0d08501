"""Eight bits a weight, one scale for each output; activations stay as they are.

weight[o, i] = codes[o, i] * scale[o]        scale[o] = max |weight[o]| / 127
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from plugins.quantization.blockwise import multiply, whole

TOP = 127
SMALLEST_SCALE = 2.0**-24
MOST_ROWS = 32
"""Up to here torch's operator is ahead of decoding."""


@dataclass(frozen=True, slots=True)
class Codes8:
    """`codes [out, in]` int8, `scale [out]`; with `activations`, inputs are rounded to eight bits too."""

    codes: Tensor
    scale: Tensor
    activations: bool = False

    def dense(self) -> Tensor:
        """What the codes stand for: `[out, in]`, float32."""
        return self.codes.float() * self.scale.float()[:, None]


def round_to_nearest(weight: Tensor, activations: bool = False) -> Codes8:
    """`weight [out, in]` on 255 levels an output. Scales are rounded to bfloat16 first."""
    weight = weight.float()
    scale = (weight.abs().amax(1) / TOP).clamp_(min=SMALLEST_SCALE).to(torch.bfloat16)
    return Codes8((weight / scale[:, None]).round_().clamp_(-TOP, TOP).to(torch.int8), scale, activations)


class Int8:
    """`x [rows, in] -> [rows, out]` in x's type: few bfloat16 rows by torch's operator, others decoded."""

    __slots__ = ("_codes", "_packs", "_scale", "bias")

    def __init__(self, codes: Codes8, bias: Tensor | None, dtype: torch.dtype) -> None:
        self._codes = codes.codes
        self._scale = codes.scale.to(dtype)
        self._packs = dtype == torch.bfloat16 and _has_operator()
        self.bias = bias

    @property
    def kernel(self) -> str:
        return "int8pack" if self._packs else "int8 dequantized"

    @property
    def nbytes(self) -> int:
        return self._codes.nbytes + self._scale.nbytes + (0 if self.bias is None else self.bias.nbytes)

    def dense(self) -> Tensor:
        return whole(len(self._codes), self._codes.shape[1], self._decode) * self._scale[:, None]

    def __call__(self, x: Tensor) -> Tensor:
        if self._packs and len(x) <= MOST_ROWS:
            out: Tensor = torch.ops.aten._weight_int8pack_mm(x, self._codes, self._scale)
        else:
            out = multiply(x, len(self._codes), self._decode).mul_(self._scale)
        return out if self.bias is None else out.add_(self.bias)

    def _decode(self, rows: slice) -> Tensor:
        return self._codes[rows].to(self._scale.dtype)


def _has_operator() -> bool:
    return hasattr(torch.ops.aten, "_weight_int8pack_mm")
