"""The public format that each method's result is written in: `quantization_config`, and a weight's tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from plugins.quantization.forms import Form
from plugins.quantization.grid import Codes
from plugins.quantization.int8 import Codes8
from plugins.quantization.layouts import pack
from plugins.quantization.nf4 import NormalCodes
from plugins.quantization.options import (
    AwqOptions,
    GptqOptions,
    Int4Options,
    Int8Options,
    Nf4Options,
    W8A8Options,
    Where,
)

Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PublicFormat:
    """`settings` are given the names of the linear layers that stay plain."""

    name: str
    settings: Callable[[Sequence[str]], Settings]
    tensors: Callable[[Form], pack.Tensors]


def public_format(options: Where, dtype: str) -> PublicFormat:
    """The format for what a method with these options makes of a model stored in `dtype`."""
    match options:
        case GptqOptions():
            return PublicFormat("gptq", lambda kept: _gptq(options, kept), _of_codes(pack.gptq_tensors))
        case AwqOptions():
            return PublicFormat("awq", lambda kept: _awq(options, kept), _of_codes(pack.awq_tensors))
        case Int4Options():
            written = _of_codes(pack.compressed4_tensors)
            return PublicFormat("compressed-tensors", lambda kept: _int4(options, kept), written)
        case Int8Options():
            return PublicFormat("compressed-tensors", _packed_eight, _eight)
        case W8A8Options():
            return PublicFormat("compressed-tensors", _whole_eight, _eight)
        case Nf4Options():
            return PublicFormat(
                "bitsandbytes", lambda kept: _nf4(options, dtype, kept), lambda form: _four(form, dtype)
            )
    raise AssertionError(options)


INT8: Settings = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
TOKENS: Settings = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}


def _gptq(options: GptqOptions, kept: Sequence[str]) -> Settings:
    settings: Settings = {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": options.group,
        "desc_act": options.act_order,
        "sym": options.symmetric,
        "damp_percent": options.damping,
        "true_sequential": True,
        "lm_head": False,
        "checkpoint_format": "gptq",
        "pack_dtype": "int32",
    }
    skipped: Settings = {rf"-:^{name.replace('.', '[.]')}$": {} for name in kept if name != "lm_head"}
    return settings | ({"dynamic": skipped} if skipped else {})


def _awq(options: AwqOptions, kept: Sequence[str]) -> Settings:
    return {
        "quant_method": "awq",
        "bits": 4,
        "group_size": options.group,
        "zero_point": True,
        "version": "gemm",
        "modules_to_not_convert": list(kept),
    }


def _int4(options: Int4Options, kept: Sequence[str]) -> Settings:
    weights = INT8 | {
        "num_bits": 4,
        "symmetric": options.symmetric,
        "strategy": "group",
        "group_size": options.group,
    }
    return _compressed("pack-quantized", weights, None, kept)


def _packed_eight(kept: Sequence[str]) -> Settings:
    return _compressed("pack-quantized", INT8, None, kept)


def _whole_eight(kept: Sequence[str]) -> Settings:
    return _compressed("int-quantized", INT8, TOKENS, kept)


def _compressed(written: str, weights: Settings, activations: Settings | None, kept: Sequence[str]) -> Settings:
    group = {
        "targets": ["Linear"],
        "weights": weights,
        "input_activations": activations,
        "output_activations": None,
    }
    return {
        "quant_method": "compressed-tensors",
        "format": written,
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": list(kept),
        "kv_cache_scheme": None,
    }


def _nf4(options: Nf4Options, dtype: str, kept: Sequence[str]) -> Settings:
    return {
        "quant_method": "bitsandbytes",
        "load_in_4bit": True,
        "load_in_8bit": False,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": options.double,
        "bnb_4bit_compute_dtype": dtype,
        "bnb_4bit_quant_storage": "uint8",
        "llm_int8_skip_modules": list(kept),
    }


def _of_codes(written: Callable[[Codes], pack.Tensors]) -> Callable[[Form], pack.Tensors]:
    def tensors(form: Form) -> pack.Tensors:
        assert isinstance(form, Codes)
        return written(form)

    return tensors


def _eight(form: Form) -> pack.Tensors:
    assert isinstance(form, Codes8)
    return pack.compressed8_tensors(form)


def _four(form: Form, dtype: str) -> pack.Tensors:
    assert isinstance(form, NormalCodes)
    return pack.four_bit_tensors(form, dtype)
