"""Sixteen evenly spaced levels for each group of inputs: where they lie, and which one is nearest.

    weight[o, i]  =  (codes[o, i] - zero[o, i // group]) * scale[o, i // group]

Symmetric groups have their zero at 8 and a scale of 2/15 of the largest magnitude; asymmetric ones spend the
sixteen levels on what lies between the smallest and the largest weight, 0 included. In both no weight is
further from its level than half a scale, and what rounding the scale adds at the ends: a sixteenth of one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEVELS = 16
TOP = LEVELS - 1
MIDDLE = LEVELS // 2
SMALLEST_SCALE = 2.0**-24
"""The least that float16 holds: scales go to files in that type."""


@dataclass(frozen=True, slots=True)
class Codes:
    """A weight on such levels. Column c of `codes` belongs to input `order[c]`, or to c without an order."""

    codes: Tensor
    """`[out, in]`, uint8 below 16."""
    scale: Tensor
    """`[out, groups]`, a float type."""
    zero: Tensor
    """`[out, groups]`, uint8 of at most 16."""
    order: Tensor | None = None

    @property
    def group(self) -> int:
        return self.codes.shape[1] // self.scale.shape[1]

    def dense(self) -> Tensor:
        """What the codes stand for, inputs in their own order: `[out, in]`, float32."""
        values = from_codes(self.codes.view(len(self.codes), -1, self.group), self.scale.float(), self.zero)
        return values.flatten(1) if self.order is None else columns_back(values.flatten(1), self.order)


@dataclass(frozen=True, slots=True)
class ScaledCodes:
    """`codes` are of the weight times `scale [in]`, column by column: inputs are divided by it."""

    codes: Codes
    scale: Tensor

    def dense(self) -> Tensor:
        return self.codes.dense() / self.scale


def columns_back(weight: Tensor, order: Tensor) -> Tensor:
    """The columns of `weight`, of which column c belongs at `order[c]`, where they belong."""
    return torch.empty_like(weight).index_copy_(1, order, weight)


def find_grid(weight: Tensor, symmetric: bool, shrink: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
    """Scale and zero, `[...]` each, for groups `weight [..., group]`; `shrink` narrows the range they cover.

    Scales are rounded to bfloat16, so that every kernel uses the same one.
    """
    low = weight.amin(-1).clamp_(max=0) * shrink
    high = weight.amax(-1).clamp_(min=0) * shrink
    if symmetric:
        reach = torch.maximum(-low, high)
        scale = _stored(2 * reach / TOP)
        return scale, torch.full_like(scale, MIDDLE, dtype=torch.uint8)
    scale = _stored((high - low) / TOP)
    return scale, (-low / scale).round_().clamp_(0, TOP).to(torch.uint8)


def _stored(scale: Tensor) -> Tensor:
    return scale.clamp(min=SMALLEST_SCALE).to(torch.bfloat16).float()


def to_codes(weight: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """The nearest level of each weight: `[..., group]`, uint8."""
    return (weight / scale[..., None]).round_().add_(zero[..., None]).clamp_(0, TOP).to(torch.uint8)


def from_codes(codes: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """What `[..., group]` codes stand for, float32."""
    return (codes.float() - zero[..., None].float()).mul_(scale[..., None])


def round_to_nearest(weight: Tensor, group: int, symmetric: bool, shrink: Tensor | float = 1.0) -> Codes:
    """`weight [out, in]` on the levels of its groups; `shrink` is a number or `[out, groups]`."""
    grouped = weight.float().reshape(len(weight), -1, group)
    scale, zero = find_grid(grouped, symmetric, shrink)
    return Codes(to_codes(grouped, scale, zero).flatten(1), scale.to(torch.bfloat16), zero)
