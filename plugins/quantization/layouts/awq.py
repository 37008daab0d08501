"""What AutoAWQ writes with its `gemm` version: eight codes of an input's outputs in each int32. No torch.

qweight  [in, out / 8]       int32: bits 4 j to 4 j + 3 are output 8 i + (0, 2, 4, 6, 1, 3, 5, 7)[j]
qzeros   [groups, out / 8]   int32, in the same order
scales   [groups, out]
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


class AwqLayout(ProjectionLayout):
    name = "awq"

    def __init__(self, fields: Fields) -> None:
        """Raises ModelError for settings that say something else than the layout above."""
        require_is(fields, "bits", 4)
        require_is(fields, "version", "gemm", "GEMM")
        require_is(fields, "zero_point", None, True)
        self._group = fields.integer("group_size", 128, least=-1)

    def expected(
        self, projection: str, shape: tuple[int, ...], _found: Mapping[str, TensorInfo]
    ) -> Mapping[str, Expected]:
        outputs, inputs = shape
        groups = groups_of(projection, inputs, self._group)
        return {
            f"{projection}.qweight": Expected((inputs, outputs // 8), ("I32",)),
            f"{projection}.qzeros": Expected((groups, outputs // 8), ("I32",)),
            f"{projection}.scales": Expected((groups, outputs)),
        }

    def form(self, read: Read) -> Form | Tensor:
        from plugins.quantization.layouts.unpack import read_awq

        return read_awq(read)


def read_layout(fields: Fields) -> AwqLayout:
    """The layout of a `quantization_config` whose `quant_method` is `awq`."""
    return AwqLayout(fields)
