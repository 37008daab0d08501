"""What a projection's inputs look like over a calibration text."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(slots=True)
class Statistics:
    """Sums over input rows `x [rows, in]`, float32: of `x.T @ x`, half the Hessian of a layer's squared error
    in each of its outputs' weights, and of `|x|`."""

    inputs: int
    rows: int = 0
    gram: Tensor = field(init=False)
    magnitude: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.gram = torch.zeros(self.inputs, self.inputs)
        self.magnitude = torch.zeros(self.inputs)

    def add(self, x: Tensor) -> None:
        x = x.float()
        self.gram.addmm_(x.t(), x)
        self.magnitude += x.abs().sum(0)
        self.rows += len(x)


def output_error(difference: Tensor, gram: Tensor) -> float:
    """Squared error, summed over outputs and rows, of a layer whose weight is off by `difference [out, in]`."""
    return float(((difference @ gram) * difference).sum())
