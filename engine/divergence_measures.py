"""How far two tensors lie apart, and how far rounding alone could have put them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Apart", "Floor", "apart", "coarser", "floor_of", "perturbed", "unit"]

SAFETY = {torch.float32: 16.0, torch.bfloat16: 2.0, torch.float16: 2.0}
"""How many times the answer to rounded inputs is still rounding. In float32 the sums inside a stage round as
well, and a sum of thousands of products more than its inputs do; two-byte types sum in float32."""
SPIKE = 6.0
"""How far above the mean of the noise a single element may lie: the largest of many thousand."""


class Apart(NamedTuple):
    """`max_abs`, the l2 norm of the difference over that of the first tensor, and the cosine between both."""

    max_abs: float
    rel: float
    cosine: float


class Floor(NamedTuple):
    """What rounding explains of one stage: `rel` of the whole, `spike` of one element."""

    rel: float
    spike: Tensor

    def exceeded_by(self, a: Tensor, b: Tensor) -> bool:
        error = (b.double() - a.double()).abs()
        return not (apart(a, b).rel <= self.rel and bool((error <= self.spike).all()))


def unit(*dtypes: torch.dtype) -> float:
    """The largest relative error of rounding a number to the coarsest of these types."""
    return max(torch.finfo(dtype).eps for dtype in dtypes) / 2


def coarser(*dtypes: torch.dtype) -> torch.dtype:
    """The type that rounds most."""
    return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)


def apart(a: Tensor, b: Tensor) -> Apart:
    """How far `b` is from `a`; infinitely far where one of them has a NaN or infinity that the other has not."""
    a, b = a.double().flatten(), b.double().flatten()
    if torch.equal(a, b):
        return Apart(0.0, 0.0, 1.0)
    if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
        same = torch.equal(a.nan_to_num(), b.nan_to_num()) and torch.equal(a.isnan(), b.isnan())
        return Apart(0.0, 0.0, 1.0) if same else Apart(math.inf, math.inf, 0.0)
    error, size, other = float((b - a).norm()), float(a.norm()), float(b.norm())
    cosine = float(a @ b) / (size * other) if size and other else float(size == other)
    return Apart(float((b - a).abs().max()), error / size if size else math.inf, cosine)


def perturbed(value: Tensor, size: float, generator: torch.Generator) -> Tensor:
    """`value` with every element off by up to `size` of itself, in float32."""
    noise = torch.rand(value.shape, generator=generator).mul_(2 * size).sub_(size)
    return value.float() * (1 + noise)


def floor_of(value: Tensor, exact: Tensor, answers: Sequence[Tensor], dtype: torch.dtype) -> Floor:
    """The floor of a stage whose value is `value`: `exact` is what it makes of the inputs, `answers` what it
    makes of inputs that rounding to `dtype` could have left."""
    size = float(value.double().norm())
    noise = max(float((answer.double() - exact.double()).norm()) for answer in answers)
    safety, step = SAFETY[dtype], unit(dtype)
    mean = noise / math.sqrt(value.numel())
    spike = safety * SPIKE * (mean + step * value.double().abs())
    return Floor(safety * (noise / size + step) if size else math.inf, spike)
