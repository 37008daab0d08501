"""The methods of `plugins.quantization` as plugins: weights in another form, and keys and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.model.config import ModelConfig
from engine.option_error import OptionError
from plugins.contract import NoOptions
from plugins.quantization.methods import METHODS, Method
from plugins.quantization.options import Where

if TYPE_CHECKING:
    from plugins.quantization.kv_pool import Bits


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


class PackedKV:
    """Keys and values in `bits`, as a KV store. Torch is imported when a pool is made."""

    def __init__(self, name: str, bits: Bits) -> None:
        self.name = name
        self._bits = bits

    def make_pool(self, config: ModelConfig, num_blocks: int, block_size: int, dtype: str) -> Any:
        from engine.model.weights import DTYPES
        from plugins.quantization.kv_pool import QuantizedKVPool

        if self._bits == 4 and config.head_dim % 2:
            raise OptionError(f"plugin {self.name}: head_dim is {config.head_dim}: it takes an even one")
        return QuantizedKVPool(config, num_blocks, block_size, DTYPES[dtype], self._bits)


class KVQuantization:
    """Keys and values in fewer bits, as a plugin."""

    version = "1"
    options = NoOptions

    def __init__(self, bits: Bits) -> None:
        self._bits = bits
        self.name = f"kv-int{bits}"
        self.description = f"Keys and values in {bits} bits, each head of each token on levels of its own."

    def provide(self, _options: NoOptions) -> Sequence[PackedKV]:
        return (PackedKV(self.name, self._bits),)


kv_int8, kv_int4 = KVQuantization(8), KVQuantization(4)
