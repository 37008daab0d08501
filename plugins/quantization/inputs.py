"""A projection whose weight takes its inputs scaled, or in another order."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from engine.model.projection import Projection
from plugins.quantization.grid import columns_back


@dataclass(frozen=True, slots=True)
class Reordered:
    """`inner` of `x[:, order]`: for codes whose groups follow the order in which they were made."""

    inner: Projection
    order: Tensor

    @property
    def kernel(self) -> str:
        return self.inner.kernel

    @property
    def bias(self) -> Tensor | None:
        return self.inner.bias

    @property
    def nbytes(self) -> int:
        return self.inner.nbytes + self.order.nbytes

    def dense(self) -> Tensor:
        return columns_back(self.inner.dense(), self.order)

    def __call__(self, x: Tensor) -> Tensor:
        return self.inner(x.index_select(1, self.order))


@dataclass(frozen=True, slots=True)
class Scaled:
    """`inner` of `x * factor [in]`: the weight was divided by it, column by column."""

    inner: Projection
    factor: Tensor

    @property
    def kernel(self) -> str:
        return self.inner.kernel

    @property
    def bias(self) -> Tensor | None:
        return self.inner.bias

    @property
    def nbytes(self) -> int:
        return self.inner.nbytes + self.factor.nbytes

    def dense(self) -> Tensor:
        return self.inner.dense() * self.factor

    def __call__(self, x: Tensor) -> Tensor:
        return self.inner(x * self.factor)
