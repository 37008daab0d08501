"""Eight bits for weights and activations: whole-number products, one scale for each output and each row.

A row's scale comes from that row alone (`max |x| / 127`, in bfloat16 rounded to it before it is used), and sums
of whole numbers are exact in any order, so the result of a row does not depend on the batch.
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

AT_ONCE = 1 << 18
"""Activations that are rounded at a time: what is made on the way stays in the cache."""

Product = Callable[[Tensor, torch.dtype], Tensor]
"""`[rows, in]` int8 to `[rows, out]` in bfloat16 or float32, weights scaled and rows not yet."""


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
            return self._product(ones, torch.float32)

        return whole(self._inputs, self._inputs, columns).t()

    def __call__(self, x: Tensor) -> Tensor:
        wide = x.dtype if x.dtype == torch.bfloat16 else torch.float32  # float16 cannot hold sums without scale
        scale = _largest(x).to(wide).div_(TOP).clamp_(min=SMALLEST)
        out = self._product(_rounded(x, scale.float().reciprocal()), wide).mul_(scale).to(x.dtype)
        return out if self.bias is None else out.add_(self.bias)


def _largest(x: Tensor) -> Tensor:
    """`max |x|` of each row: magnitudes are in the order of their bits, which are compared faster."""
    kind, but_the_sign = (torch.int16, 0x7FFF) if x.itemsize == 2 else (torch.int32, 0x7FFF_FFFF)
    return (x.view(kind) & but_the_sign).amax(-1, keepdim=True).view(x.dtype)


def _rounded(x: Tensor, each: Tensor) -> Tensor:
    """`x [rows, in]` in steps of which a row has `each [rows, 1]` to 1: int8."""
    if x.numel() <= AT_ONCE:
        return _steps(x, each).to(torch.int8)
    rounded = torch.empty(x.shape, dtype=torch.int8)
    rows = max(1, AT_ONCE // x.shape[1])
    for into, some, its in zip(*(torch.split(of, rows) for of in (rounded, x, each)), strict=True):
        into.copy_(_steps(some, its))
    return rounded


def _steps(x: Tensor, each: Tensor) -> Tensor:
    return x.to(torch.float32, copy=True).mul_(each).round_()


class _Plain:
    def __init__(self, codes: Tensor, scale: Tensor) -> None:
        self._codes, self._scale = codes, scale

    def __call__(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return (torch._int_mm(x, self._codes) * self._scale).to(dtype)


class _Prepacked:
    def __init__(self, packed: Tensor, scale: Tensor) -> None:
        self._packed, self._scale = packed, scale
        self._zero = torch.zeros(len(scale), dtype=torch.int64)

    def __call__(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        out: Tensor = torch.ops.onednn.qlinear_pointwise.default(
            x, 1.0, 0, self._packed, self._scale, self._zero, None, 1.0, 0, dtype, "none", [], ""
        )
        return out


@cache
def _prepacks() -> bool:
    """Whether oneDNN multiplies int8 by int8 here, without saturating on the way."""
    weight = torch.full((64, 64), TOP, dtype=torch.int8)
    try:
        packed = torch.ops.onednn.qlinear_prepack(weight, None)
        out = _Prepacked(packed, torch.ones(64))(weight[:1], torch.float32)
    except (AttributeError, RuntimeError):
        return False
    return bool((out == 64 * TOP * TOP).all())
