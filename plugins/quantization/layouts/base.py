"""What the layouts have in common. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from engine.model.errors import ModelError
from engine.model.json_fields import Fields
from engine.model.layouts import Expected
from engine.model.safetensors_header import TensorInfo

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from engine.model.projection import Projection
    from plugins.quantization.forms import Form

Read = Callable[[str], "Tensor | None"]
"""A tensor of one projection by the last part of its name, such as `scales`; None where it has none."""


class ProjectionLayout(ABC):
    """A layout that keeps each projection for itself, as a form of its own or plain."""

    name: str

    @abstractmethod
    def expected(
        self, projection: str, shape: tuple[int, ...], found: Mapping[str, TensorInfo], /
    ) -> Mapping[str, Expected]: ...

    @abstractmethod
    def form(self, read: Read) -> Form | Tensor:
        """A projection's weight: in fewer bits, or decoded where it does not fit any form."""

    def projection(
        self,
        names: Sequence[str],
        read: Callable[[str], Tensor | None],
        bias: Tensor | None,
        dtype: torch.dtype,
    ) -> Projection:
        from plugins.quantization.side_by_side import side_by_side

        return side_by_side([self._form(name, read) for name in names], bias, dtype)

    def _form(self, name: str, read: Callable[[str], Tensor | None]) -> Form | Tensor:
        weight = read(f"{name}.weight")
        if weight is not None and weight.dtype.is_floating_point:
            return weight
        return self.form(lambda part: read(f"{name}.{part}"))


def require(read: Read, part: str) -> Tensor:
    """A tensor that `expected` has made sure of."""
    tensor = read(part)
    assert tensor is not None, part
    return tensor


def require_is(fields: Fields, key: str, *allowed: object) -> None:
    """Raise ModelError unless a setting has one of these values; None stands for one that is left out."""
    if fields.values.get(key) not in allowed:
        known = " or ".join("left out" if value is None else repr(value) for value in allowed)
        raise fields.refuse(key, f"it can only be read where it is {known}")


def groups_of(projection: str, inputs: int, group: int) -> int:
    """How many groups a projection's inputs make; a `group` of -1 is all of them."""
    size = inputs if group == -1 else group
    if size <= 0 or inputs % size:
        raise ModelError(
            f"groups of {group} do not divide the {inputs} inputs of {projection}: it cannot be read"
        )
    return inputs // size
