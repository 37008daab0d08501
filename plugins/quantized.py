"""The methods of `plugins.quantization` as plugins: each keeps weights in another form while they are loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from plugins.quantization.methods import METHODS, Method
from plugins.quantization.options import Where


class Quantizer:
    """A method with its options, as a weight transform. Torch is imported when weights are prepared."""

    def __init__(self, method: Method, options: Where) -> None:
        self.name = method.name
        self._method = method
        self._options = options

    def prepare_weights(self, folder: Path, dtype: str) -> Callable[..., Any]:
        from engine.model.weights import DTYPES

        return self._method.prepare(folder, DTYPES[dtype], self._options)


class Quantization:
    """One method, as a plugin."""

    version = "1"

    def __init__(self, method: Method) -> None:
        self._method = method
        self.name = method.name
        self.description = f"{method.summary[:1].upper()}{method.summary[1:]}."
        self.options = method.options

    def provide(self, options: Where) -> Sequence[Quantizer]:
        return (Quantizer(self._method, options),)


int8, w8a8, int4, gptq, awq, nf4 = map(
    Quantization, (METHODS[name] for name in ("int8", "w8a8", "int4", "gptq", "awq", "nf4"))
)
