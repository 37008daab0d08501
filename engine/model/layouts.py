"""How folders keep projections in fewer bits than a number a weight. No torch.

The layouts themselves are plugins: entry points of the group `workbench.layouts`, named as `quant_method` in a
config's `quantization_config`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final, NamedTuple, Protocol

from engine.model.json_fields import Fields
from engine.model.safetensors_header import TensorInfo

GROUP: Final = "workbench.layouts"
FLOATS: Final = ("F32", "BF16", "F16")


class Expected(NamedTuple):
    """What a tensor of a folder must be: `dtypes` as in safetensors, any of them."""

    shape: tuple[int, ...]
    dtypes: tuple[str, ...] = FLOATS


class Layout(Protocol):
    """How one folder's projections are kept, as its `quantization_config` says."""

    @property
    def name(self) -> str:
        """As a person knows it: `gptq`, `nf4`."""
        ...

    def expected(
        self, projection: str, shape: tuple[int, ...], found: Mapping[str, TensorInfo], /
    ) -> Mapping[str, Expected]:
        """The tensors that stand for a weight of `shape [out, in]`.

        `projection` is its name without `.weight`, as in `model.layers.0.mlp.up_proj`; `found` are the tensors of
        the folder by their full names. Raises `ModelError` when it is kept in a way that cannot be read.
        """
        ...

    def projection(self, names: Sequence[str], read: Callable[[str], Any], bias: Any, dtype: Any, /) -> Any:
        """The `engine.model.projection.Projection` of several of the same input, their outputs side by side.

        `read` gives a tensor of the folder as it is stored by its full name, None where there is none; `bias` is
        that of all outputs, or None, and `dtype` torch's own for what the projection is given and returns.
        """
        ...


ReadLayout = Callable[[Fields], Layout]
"""An entry point: from a `quantization_config` to its layout. Raises `ModelError` for what it cannot read."""


def read_layout(fields: Fields) -> Layout | None:
    """The layout that a config names; None where its weights are plain."""
    if "quantization_config" not in fields:
        return None
    quantization = fields.object("quantization_config")
    known = {point.name: point for point in entry_points(group=GROUP)}
    method = quantization.values.get("quant_method")
    if not isinstance(method, str) or method not in known:
        raise quantization.refuse("quant_method", f"such quantized weights cannot run, only {_names(known)}")
    read: ReadLayout = known[method].load()
    return read(quantization)


def _names(known: Mapping[str, object]) -> str:
    return ", ".join(sorted(known)) or "none"


__all__ = ["FLOATS", "Expected", "Layout", "ReadLayout", "read_layout"]
