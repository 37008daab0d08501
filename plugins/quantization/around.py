"""A projection around another one: whose weight takes its inputs scaled, or in another order, or that listens."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from engine.model.projection import Projection
from plugins.quantization.grid import columns_back


@dataclass(slots=True)
class Around:
    """What `inner` is, but for what it is given."""

    inner: Projection

    @property
    def kernel(self) -> str:
        return self.inner.kernel

    @property
    def bias(self) -> Tensor | None:
        return self.inner.bias

    @property
    def nbytes(self) -> int:
        return self.inner.nbytes

    def dense(self) -> Tensor:
        return self.inner.dense()

    def __call__(self, x: Tensor) -> Tensor:
        return self.inner(x)


@dataclass(slots=True)
class Reordered(Around):
    """`inner` of `x[:, order]`: for codes whose groups follow the order in which they were made."""

    order: Tensor

    @property
    def nbytes(self) -> int:
        return self.inner.nbytes + self.order.nbytes

    def dense(self) -> Tensor:
        return columns_back(self.inner.dense(), self.order)

    def __call__(self, x: Tensor) -> Tensor:
        return self.inner(x.index_select(1, self.order))


@dataclass(slots=True)
class Scaled(Around):
    """`inner` of `x * factor [in]`: the weight was divided by it, column by column."""

    factor: Tensor

    @property
    def nbytes(self) -> int:
        return self.inner.nbytes + self.factor.nbytes

    def dense(self) -> Tensor:
        return self.inner.dense() * self.factor

    def __call__(self, x: Tensor) -> Tensor:
        return self.inner(x * self.factor)


@dataclass(slots=True)
class Listening(Around):
    """Keeps what it was given last."""

    heard: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        self.heard = x
        return self.inner(x)
