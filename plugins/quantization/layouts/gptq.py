"""What AutoGPTQ and GPTQModel write: eight codes of an output's inputs in each int32. No torch.

qweight  [in / 8, out]       int32: input 8 i + j of an output in bits 4 j to 4 j + 3
qzeros   [groups, out / 8]   int32: output 8 i + j; in format `gptq` less one, in `gptq_v2` as it is
scales   [groups, out]
g_idx    [in]                the group of each input: any order after quantizing by activation
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.model.json_fields import Fields
from engine.model.layouts import Expected
from engine.model.safetensors_header import TensorInfo
from plugins.quantization.layouts.base import ProjectionLayout, Read, groups_of, require_is

if TYPE_CHECKING:
    from torch import Tensor

    from plugins.quantization.forms import Form


class GptqLayout(ProjectionLayout):
    name = "gptq"

    def __init__(self, fields: Fields) -> None:
        """Raises ModelError for settings that say something else than the layout above."""
        require_is(fields, "bits", 4)
        require_is(fields, "checkpoint_format", None, "gptq", "gptq_v2")
        require_is(fields, "pack_dtype", None, "int32")
        require_is(fields, "is_marlin_format", None, False)
        self._less_one = fields.text("checkpoint_format", "gptq") == "gptq"
        self._group = fields.integer("group_size", -1, least=-1)
        self._ordered = fields.flag("desc_act", False)

    def expected(
        self, projection: str, shape: tuple[int, ...], found: Mapping[str, TensorInfo]
    ) -> Mapping[str, Expected]:
        outputs, inputs = shape
        groups = groups_of(projection, inputs, self._group)
        wanted = {
            f"{projection}.qweight": Expected((inputs // 8, outputs), ("I32",)),
            f"{projection}.qzeros": Expected((groups, outputs // 8), ("I32",)),
            f"{projection}.scales": Expected((groups, outputs)),
        }
        if f"{projection}.g_idx" in found or (self._ordered and groups > 1):
            wanted[f"{projection}.g_idx"] = Expected((inputs,), ("I32",))
        return wanted

    def form(self, read: Read) -> Form | Tensor:
        from plugins.quantization.layouts.unpack import read_gptq

        return read_gptq(read, self._less_one)


def read_layout(fields: Fields) -> GptqLayout:
    """The layout of a `quantization_config` whose `quant_method` is `gptq`."""
    return GptqLayout(fields)
