"""The methods by name: what each can be told, and the projections it makes. No torch until one runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.option_error import OptionError
from plugins.arguments import read_options
from plugins.quantization.options import (
    AwqOptions,
    GptqOptions,
    Int4Options,
    Int8Options,
    Nf4Options,
    W8A8Options,
    Where,
)

if TYPE_CHECKING:
    import torch

    from engine.model.projection import MakeProjection
    from plugins.quantization.sequential import Told


@dataclass(frozen=True, slots=True)
class Method:
    """A way to keep weights in fewer bits."""

    name: str
    summary: str
    options: type[Where]

    def prepare(
        self, folder: Path, dtype: torch.dtype, options: Where, told: Told | None = None
    ) -> MakeProjection:
        """What `load_decoder` is given to load the model in `folder` with its projections quantized.

        Calibrates first, where the method does; `told` hears of that. Raises ModelError or OptionError.
        """
        from plugins.quantization.making import make_projections

        return make_projections(folder, dtype, options, told)


METHODS: Final[Mapping[str, Method]] = {
    method.name: method
    for method in (
        Method("int8", "weights in 8 bits, a scale for each output", Int8Options),
        Method("w8a8", "weights and activations in 8 bits, a scale for each output and each row", W8A8Options),
        Method("int4", "weights in 4 bits, rounded to nearest in groups", Int4Options),
        Method("gptq", "weights in 4 bits, each rounding's error made up for by later ones (GPTQ)", GptqOptions),
        Method("awq", "weights in 4 bits, finer where activations are large (AWQ)", AwqOptions),
        Method("nf4", "weights in 4 bits on levels of a normal distribution (NF4)", Nf4Options),
    )
}


def parse_method(spec: str) -> tuple[Method, Where]:
    """`int4` or `int4=group:32,keep:lm_head`. Raises OptionError."""
    name, _, text = spec.partition("=")
    if name not in METHODS:
        of_kv = f" ({name} is for KV: --plugin {name} runs with it)" if name in ("kv-int8", "kv-int4") else ""
        raise OptionError(f"method is {name!r}: it must be one of {', '.join(METHODS)}{of_kv}")
    method = METHODS[name]
    options = read_options(name, method.options, text)
    assert isinstance(options, Where)
    return method, options
