"""GPTQ: inputs are rounded one after the other, and those still to come make up for each one's error.

Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
algorithm 1. The squared error of a layer's outputs has the Hessian `2 x.T x`, the same for every output.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from plugins.quantization.grid import Codes, find_grid, to_codes
from plugins.quantization.options import GptqOptions
from plugins.quantization.statistics import Statistics

LAZY_COLUMNS = 128
"""Columns whose errors reach the columns after them in one product."""


def gptq(weight: Tensor, statistics: Statistics, options: GptqOptions) -> Codes:
    """`weight [out, in]` on levels in groups of `options.group` inputs, in the order they were rounded in."""
    order = statistics.gram.diagonal().argsort(descending=True) if options.act_order else None
    gram = statistics.gram / statistics.rows
    weight = weight.float()
    if order is not None:
        weight, gram = weight[:, order], gram[order][:, order]
    rounding = _Rounding(weight.clone(), _carry(gram, options.damping), options)
    rounding.run()
    return rounding.codes(order)


def _carry(gram: Tensor, damping: float) -> Tensor:
    """Upper Cholesky factor of the inverse Hessian, `[in, in]`: row i says how column i's error is carried on.

    Inputs that were never active get a curvature of their own. Damping grows until the factors exist.
    """
    mean = gram.diagonal().mean()
    gram = gram + torch.diag((gram.diagonal() == 0).float()) * mean.clamp(min=1.0)
    while True:
        damped = gram + torch.eye(len(gram)) * (damping * mean).clamp(min=1e-8)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
            if not failed:
                return cast("Tensor", upper)
        damping *= 10


@dataclass(slots=True)
class _Rounding:
    """`weight` is what is left to round: columns are rounded from left to right."""

    weight: Tensor
    carry: Tensor
    options: GptqOptions
    result: Tensor = field(init=False)
    grids: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def run(self) -> None:
        group = self.options.group
        self.result = torch.empty(self.weight.shape, dtype=torch.uint8)
        step = max(1, LAZY_COLUMNS // group) * group
        for start in range(0, self.weight.shape[1], step):
            stop = min(start + step, self.weight.shape[1])
            errors = self._columns(start, stop)
            self.weight[:, stop:] -= errors @ self.carry[start:stop, stop:]

    def _columns(self, start: int, stop: int) -> Tensor:
        """Round these columns; their errors, each over its own factor."""
        errors = torch.empty(len(self.weight), stop - start)
        for column in range(start, stop):
            if column % self.options.group == 0:
                ahead = self.weight[:, column : column + self.options.group]
                self.grids.append(find_grid(ahead, self.options.symmetric))
            scale, zero = self.grids[-1]
            value = self.weight[:, column]
            codes = to_codes(value[:, None], scale, zero)[:, 0]
            self.result[:, column] = codes
            error = (value - (codes.float() - zero.float()) * scale) / self.carry[column, column]
            errors[:, column - start] = error
            self.weight[:, column + 1 : stop].addr_(error, self.carry[column, column + 1 : stop], alpha=-1)
        return errors

    def codes(self, order: Tensor | None) -> Codes:
        scales, zeros = zip(*self.grids, strict=True)
        return Codes(self.result, torch.stack(scales, 1).to(torch.bfloat16), torch.stack(zeros, 1), order)
