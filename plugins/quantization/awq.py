"""AWQ: inputs that carry much get finer levels, by scaling weights up and inputs down before rounding.

Lin et al. 2024, "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration". An input's
scale is a power of its mean magnitude; the power is the one of twenty with the least error of the layer's
outputs. Then the range of each group may be narrowed, where that too makes the error smaller.
"""

from __future__ import annotations

import torch
from torch import Tensor

from plugins.quantization.grid import ScaledCodes, find_grid, from_codes, round_to_nearest, to_codes
from plugins.quantization.options import AwqOptions
from plugins.quantization.statistics import output_error

POWERS = tuple(step / 20 for step in range(20))
SHRINKS = tuple(1 - step / 20 for step in range(11))
MOST_ROWS = 1024
"""Outputs that the search for a power looks at, spread evenly over all."""


def awq(weight: Tensor, magnitude: Tensor, gram: Tensor, options: AwqOptions, clip: bool = True) -> ScaledCodes:
    """`weight [out, in]` with its inputs' scales, from their mean `magnitude [in]` and `gram [in, in]`."""
    weight = weight.float()
    scale = _best_scale(weight, magnitude, gram, options)
    scaled = weight * scale
    shrink: Tensor | float = 1.0
    if options.clip and clip:
        shrink = _best_shrink(scaled, gram / (scale[:, None] * scale), options)
    return ScaledCodes(round_to_nearest(scaled, options.group, options.symmetric, shrink), scale)


def shared_by_heads(magnitude: Tensor, kv_heads: int, head_dim: int) -> Tensor:
    """The inputs of an output projection with one magnitude for all heads that share a KV head.

    Their scales can then be taken out of the values, which such heads have in common.
    """
    heads = magnitude.view(kv_heads, -1, head_dim)
    return heads.mean(1, keepdim=True).expand_as(heads).flatten()


def _best_scale(weight: Tensor, magnitude: Tensor, gram: Tensor, options: AwqOptions) -> Tensor:
    looked_at = weight[:: max(1, len(weight) // MOST_ROWS)]
    found = [_scale(magnitude, power) for power in POWERS]
    return min(found, key=lambda scale: _error(looked_at, scale, gram, options))


def _scale(magnitude: Tensor, power: float) -> Tensor:
    """Scales of a power, the least and the largest as far from 1 as each other."""
    scale = magnitude.clamp(min=1e-4).pow(power)
    return scale / (scale.max() * scale.min()).sqrt()


def _error(weight: Tensor, scale: Tensor, gram: Tensor, options: AwqOptions) -> float:
    rounded = round_to_nearest(weight * scale, options.group, options.symmetric).dense() / scale
    return output_error(rounded - weight, gram)


def _best_shrink(weight: Tensor, gram: Tensor, options: AwqOptions) -> Tensor:
    """For each group of each output, how far its range is best narrowed, as if it were alone: `[out, groups]`."""
    groups = weight.view(len(weight), -1, options.group)
    own = torch.stack(
        [gram[at : at + options.group, at : at + options.group] for at in range(0, len(gram), options.group)]
    )
    least = torch.full(groups.shape[:2], torch.inf)
    best = torch.ones(groups.shape[:2])
    for shrink in SHRINKS:
        scale, zero = find_grid(groups, options.symmetric, shrink)
        off = from_codes(to_codes(groups, scale, zero), scale, zero).sub_(groups).transpose(0, 1)
        error = ((off @ own) * off).sum(-1).t()
        best = torch.where(error < least, shrink, best)
        least = torch.minimum(error, least)
    return best
