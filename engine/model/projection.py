"""What a decoder needs of a projection, however its weight is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

ProjectionName = Literal["qkv", "o", "gate_up", "down", "lm_head"]


class Place(NamedTuple):
    """Which projection: `layer` is -1 for `lm_head`. Fused ones have their parts' rows one below the other."""

    layer: int
    name: ProjectionName


class Projection(Protocol):
    """`x [rows, in] -> [rows, out]`. `kernel` names how, for the record."""

    @property
    def kernel(self) -> str: ...

    @property
    def bias(self) -> Tensor | None: ...

    @property
    def nbytes(self) -> int:
        """Bytes that weight, scales and bias take."""
        ...

    def dense(self) -> Tensor:
        """The weight that it stands for, `[out, in]`."""
        ...

    def __call__(self, x: Tensor) -> Tensor: ...


MakeProjection = Callable[[Place, Tensor, Tensor | None], Projection]
"""From a place, its weight `[out, in]` in the compute type and its bias `[out]` to what computes it."""
