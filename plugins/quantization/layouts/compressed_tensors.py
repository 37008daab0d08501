"""What compressed-tensors (llm-compressor) writes as `pack-quantized` and `int-quantized`. No torch.

    weight_packed      [out, in * bits / 32]   int32: inputs in order from the low bits, each plus 2^(bits - 1)
    weight_scale       [out, groups]
    weight_zero_point  [out * bits / 32, groups]   int32, outputs packed in the same way; asymmetric weights only
    weight_shape       [2]
    weight_g_idx       [in]                    the group of each input, where they were ordered by activation

`int-quantized` has `weight [out, in]` int8 in place of the packed one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.model.errors import ModelError
from engine.model.json_fields import Fields
from engine.model.layouts import Expected
from engine.model.safetensors_header import TensorInfo
from plugins.quantization.layouts.base import ProjectionLayout, Read, groups_of, require_is

if TYPE_CHECKING:
    from torch import Tensor

    from plugins.quantization.forms import Form

PACKED, WHOLE = "pack-quantized", "int-quantized"


class CompressedTensorsLayout(ProjectionLayout):
    name = "compressed-tensors"

    def __init__(self, fields: Fields) -> None:
        """Raises ModelError for settings that say something else than the layouts above."""
        require_is(fields, "kv_cache_scheme", None)
        require_is(fields, "sparsity_config", None, {})
        require_is(fields, "transform_config", None, {})
        require_is(fields, "quantization_status", None, "compressed")
        group = _only_group(fields)
        weights = group.object("weights")
        require_is(weights, "type", None, "int")
        require_is(weights, "num_bits", 4, 8)
        require_is(weights, "dynamic", None, False)
        self._bits = weights.integer("num_bits")
        self._symmetric = weights.flag("symmetric", True)
        self._group = _group_size(weights)
        self._ordered = weights.values.get("actorder") in ("group", "dynamic")
        self._packed = _is_packed(fields, group)
        self._activations = _are_quantized(group)
        if self._bits == 8 and not (self._symmetric and self._group == -1):
            raise weights.refuse("num_bits", "eight bits can only be read symmetric and with a scale an output")
        if self._bits == 4 and (self._activations or not self._packed):
            raise weights.refuse("num_bits", "four bits can only be read packed and with plain activations")

    def expected(
        self, projection: str, shape: tuple[int, ...], found: Mapping[str, TensorInfo]
    ) -> Mapping[str, Expected]:
        outputs, inputs = shape
        groups = groups_of(projection, inputs, self._group)
        wanted = {f"{projection}.weight_scale": Expected((outputs, groups))}
        if self._packed:
            packed = (outputs, -(-inputs * self._bits // 32))
            wanted[f"{projection}.weight_packed"] = Expected(packed, ("I32",))
            wanted[f"{projection}.weight_shape"] = Expected((2,), ("I64", "I32"))
        else:
            wanted[f"{projection}.weight"] = Expected(shape, ("I8",))
        if not self._symmetric:
            wanted[f"{projection}.weight_zero_point"] = Expected((-(-outputs * 4 // 32), groups), ("I32",))
        if f"{projection}.weight_g_idx" in found or (self._ordered and groups > 1):
            wanted[f"{projection}.weight_g_idx"] = Expected((inputs,), ("I32",))
        return wanted

    def form(self, read: Read) -> Form | Tensor:
        from plugins.quantization.layouts.unpack import read_compressed4, read_compressed8

        return read_compressed4(read) if self._bits == 4 else read_compressed8(read, self._activations)


def read_layout(fields: Fields) -> CompressedTensorsLayout:
    """The layout of a `quantization_config` whose `quant_method` is `compressed-tensors`."""
    return CompressedTensorsLayout(fields)


def _only_group(fields: Fields) -> Fields:
    groups = fields.object("config_groups")
    if len(groups.values) != 1:
        raise ModelError(f"{groups.source}: it has {len(groups.values)} groups: only one can be read")
    group = groups.object(next(iter(groups.values)))
    require_is(group, "output_activations", None)
    if group.values.get("targets") != ["Linear"]:
        raise group.refuse("targets", "it can only be read where it is ['Linear']")
    return group


def _group_size(weights: Fields) -> int:
    require_is(weights, "strategy", "channel", "group")
    require_is(weights, "actorder", None, "weight", "static", "group", "dynamic")
    return weights.integer("group_size") if weights.text("strategy") == "group" else -1


def _is_packed(fields: Fields, group: Fields) -> bool:
    written = group if "format" in group else fields
    require_is(written, "format", PACKED, WHOLE)
    return written.text("format") == PACKED


def _are_quantized(group: Fields) -> bool:
    """Whether activations are rounded to eight bits, each row by its own scale."""
    if "input_activations" not in group:
        return False
    activations = group.object("input_activations")
    for key, value in (("type", "int"), ("num_bits", 8), ("dynamic", True), ("strategy", "token")):
        require_is(activations, key, value)
    require_is(activations, "symmetric", None, True)
    return True
