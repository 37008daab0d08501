"""Eight bits for weights and activations: whole-number products, one scale for each output and each row.

A row's scale comes from that row alone (`max |x| / 127`), and sums of whole numbers are exact in any order, so
the result of a row does not depend on the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from plugins.quantization.blockwise import whole
from plugins.quantization.int8 import TOP, Codes8

PREPACK_FROM_BYTES = 512 << 10
"""Smallest weight that is put in oneDNN's layout: below, a call of its operator costs more than it saves."""

SMALLEST = 2.0**-100
"""Stands for the largest magnitude in a row of zeros."""

Product = Callable[[Tensor], Tensor]
"""`[rows, in]` int8 to float32 `[rows, out]`, weights scaled."""


class W8A8:
    """`x [rows, in] -> [rows, out]` in x's type."""

    __slots__ = ("_inputs", "_kept", "_product", "bias", "kernel")

    def __init__(self, codes: Codes8, bias: Tensor | None) -> None:
        outputs, self._inputs = codes.codes.shape
        scale = codes.scale.float()
        if codes.codes.nbytes >= PREPACK_FROM_BYTES and _prepacks():
            packed = torch.ops.onednn.qlinear_prepack(codes.codes, None)
            self.kernel = "int8 onednn"
            self._product: Product = _Prepacked(packed, scale)
        else:
            self.kernel = "int8 int_mm"
            self._product = _Plain(codes.codes.t(), scale)
        self._kept = outputs * self._inputs + scale.nbytes
        self.bias = bias

    @property
    def nbytes(self) -> int:
        return self._kept + (0 if self.bias is None else self.bias.nbytes)

    def dense(self) -> Tensor:
        """Each input alone, with a 1, gives its column."""

        def columns(inputs: slice) -> Tensor:
            ones = torch.zeros(inputs.stop - inputs.start, self._inputs, dtype=torch.int8)
            ones[:, inputs] = torch.eye(len(ones), dtype=torch.int8)
            return self._product(ones)

        return whole(self._inputs, self._inputs, columns).t()

    def __call__(self, x: Tensor) -> Tensor:
        scale = x.abs().amax(-1, keepdim=True).float().clamp_(min=SMALLEST).div_(TOP)
        out = self._product((x / scale).round_().to(torch.int8)).mul_(scale).to(x.dtype)
        return out if self.bias is None else out.add_(self.bias)


class _Plain:
    def __init__(self, codes: Tensor, scale: Tensor) -> None:
        self._codes, self._scale = codes, scale

    def __call__(self, x: Tensor) -> Tensor:
        return torch._int_mm(x, self._codes) * self._scale


class _Prepacked:
    def __init__(self, packed: Tensor, scale: Tensor) -> None:
        self._packed, self._scale = packed, scale
        self._zero = torch.zeros(len(scale), dtype=torch.int64)

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            x, 1.0, 0, self._packed, self._scale, self._zero, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return out


@cache
def _prepacks() -> bool:
    """Whether oneDNN multiplies int8 by int8 here, without saturating on the way."""
    weight = torch.full((64, 64), TOP, dtype=torch.int8)
    try:
        packed = torch.ops.onednn.qlinear_prepack(weight, None)
        out = _Prepacked(packed, torch.ones(64))(weight[:1])
    except (AttributeError, RuntimeError):
        return False
    return bool((out == 64 * TOP * TOP).all())
