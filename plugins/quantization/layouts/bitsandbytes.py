"""What bitsandbytes writes through transformers: 4 bits (nf4, fp4) and 8 bits. No torch.

4 bits:

    weight                            [out * in / 2, 1]   uint8: the first of two codes in the high half
    weight.quant_map                  [16]      the levels
    weight.absmax                     [blocks]  magnitudes of blocks along the flat weight; or with nesting uint8,
    weight.nested_quant_map           [256]     and these
    weight.nested_absmax              [blocks / nested block]
    weight.quant_state.bitsandbytes__nf4        JSON: sizes, and the offset of nested magnitudes

8 bits: `weight [out, in]` int8 and `SCB [out]`, 127 times the scale. The library also runs inputs of large
activations apart, in 16 bits; here activations are not rounded at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.model.errors import ModelError
from engine.model.json_fields import Fields
from engine.model.layouts import Expected
from engine.model.safetensors_header import TensorInfo
from plugins.quantization.layouts.base import ProjectionLayout, Read, require_is

if TYPE_CHECKING:
    from torch import Tensor

    from plugins.quantization.forms import Form

STATE = "weight.quant_state.bitsandbytes__"
NESTED_BLOCK = 256


class FourBitLayout(ProjectionLayout):
    def __init__(self, fields: Fields) -> None:
        require_is(fields, "bnb_4bit_quant_type", "nf4", "fp4")
        require_is(fields, "bnb_4bit_quant_storage", None, "uint8")
        self.name = fields.text("bnb_4bit_quant_type")
        self._nested = fields.flag("bnb_4bit_use_double_quant", False)

    def expected(
        self, projection: str, shape: tuple[int, ...], found: Mapping[str, TensorInfo]
    ) -> Mapping[str, Expected]:
        state = f"{projection}.{STATE}{self.name}"
        magnitudes = found.get(f"{projection}.weight.absmax")
        if state not in found or magnitudes is None:
            raise ModelError(f"{projection}: has no {self.name} weight of bitsandbytes")
        wanted = {
            f"{projection}.weight": Expected((shape[0] * shape[1] // 2, 1), ("U8",)),
            f"{projection}.weight.quant_map": Expected((16,), ("F32",)),
            f"{projection}.weight.absmax": Expected(magnitudes.shape, ("U8",) if self._nested else ("F32",)),
            state: Expected(found[state].shape, ("U8",)),
        }
        if self._nested:
            blocks = -(-magnitudes.shape[0] // NESTED_BLOCK)
            wanted[f"{projection}.weight.nested_quant_map"] = Expected((256,), ("F32",))
            wanted[f"{projection}.weight.nested_absmax"] = Expected((blocks,), ("F32",))
        return wanted

    def form(self, read: Read) -> Form | Tensor:
        from plugins.quantization.layouts.unpack import read_four_bits

        return read_four_bits(read, f"{STATE}{self.name}")


class EightBitLayout(ProjectionLayout):
    name = "bitsandbytes int8"

    def expected(
        self, projection: str, shape: tuple[int, ...], found: Mapping[str, TensorInfo]
    ) -> Mapping[str, Expected]:
        wanted = {
            f"{projection}.weight": Expected(shape, ("I8",)),
            f"{projection}.SCB": Expected((shape[0],), ("F32",)),
        }
        form = f"{projection}.weight_format"
        return wanted | ({form: Expected((), ("U8",))} if form in found else {})

    def form(self, read: Read) -> Form | Tensor:
        from plugins.quantization.layouts.unpack import read_eight_bits

        return read_eight_bits(read)


def read_layout(fields: Fields) -> ProjectionLayout:
    """The layout of a `quantization_config` whose `quant_method` is `bitsandbytes`."""
    if fields.flag("load_in_4bit", False):
        return FourBitLayout(fields)
    if fields.flag("load_in_8bit", False):
        return EightBitLayout()
    raise fields.refuse("load_in_4bit", "one of load_in_4bit and load_in_8bit must be true")
