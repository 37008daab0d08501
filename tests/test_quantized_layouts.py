"""Checkpoints that others made: what their own libraries packed is read as they decode it.

`tests/golden/quantized.safetensors` holds one weight `[32, 64]`, packed by compressed-tensors 0.20, bitsandbytes
0.50, AutoAWQ 0.2.9 and GPTQModel 7.7, and beside each what that library decodes it to; and the weight rounded by
torchao 0.18.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.model.errors import ModelError
from engine.model.json_fields import Fields
from engine.model.layouts import read_layout
from engine.model.safetensors_header import read_header
from plugins.quantization import int8
from plugins.quantization.grid import Codes, round_to_nearest
from plugins.quantization.layouts.base import ProjectionLayout
from plugins.quantization.nf4 import NormalCodes

GOLDEN = Path(__file__).parent / "golden" / "quantized.safetensors"
Settings = dict[str, Any]

INT4: Settings = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32}
INT8: Settings = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "group_size": None}
GPTQ: Settings = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": False}
AWQ: Settings = {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True}
NF4: Settings = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}


def compressed(
    weights: Settings, written: str = "pack-quantized", activations: Settings | None = None
) -> Settings:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations}
    return {"quant_method": "compressed-tensors", "format": written, "config_groups": {"group_0": group}}


MADE: dict[str, Settings] = {
    "ct4_sym": compressed(INT4),
    "ct4_asym": compressed(INT4 | {"symmetric": False}),
    "ct8_pack": compressed(INT8),
    "ct8_int": compressed(INT8, "int-quantized"),
    "gptq": GPTQ,
    "gptq_ordered": GPTQ | {"desc_act": True},
    "awq": AWQ,
    "bnb_nf4": NF4,
    "bnb_nf4_nested": NF4 | {"bnb_4bit_use_double_quant": True},
    "bnb_fp4": NF4 | {"bnb_4bit_quant_type": "fp4"},
    "bnb_fp4_nested": NF4 | {"bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": True},
    "bnb_int8": {"quant_method": "bitsandbytes", "load_in_8bit": True},
}


@cache
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN)


def layout(settings: Settings) -> ProjectionLayout:
    found = read_layout(Fields({"quantization_config": settings}, "config.json"))
    assert isinstance(found, ProjectionLayout)
    return found


def reader(name: str) -> Callable[[str], Tensor | None]:
    return lambda part: golden().get(f"{name}.{part}")


@pytest.mark.parametrize("name", MADE)
def test_what_a_library_packed_is_what_it_decodes(name: str) -> None:
    form = layout(MADE[name]).form(reader(name))
    assert not isinstance(form, Tensor)

    torch.testing.assert_close(form.dense(), golden()[f"{name}.dense"], atol=1e-7, rtol=1e-6)


def test_zeros_of_the_second_gptq_format_are_not_less_by_one() -> None:
    def read(part: str) -> Tensor | None:
        return reader("gptq")("qzeros_v2" if part == "qzeros" else part)

    form = layout(GPTQ | {"checkpoint_format": "gptq_v2"}).form(read)
    assert isinstance(form, Codes)
    torch.testing.assert_close(form.dense(), golden()["gptq.dense"], atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_checkpoints_weight_is_used_as_it_is_packed(name: str, dtype: torch.dtype) -> None:
    found = layout(MADE[name]).projection(
        [name], lambda full: golden().get(full), bias=torch.ones(32, dtype=dtype), dtype=dtype
    )
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0)).to(dtype)

    close = 1e-4 if dtype == torch.float32 else 0.1
    expected = x.float() @ golden()[f"{name}.dense"].t() + 1
    torch.testing.assert_close(found(x).float(), expected, atol=close, rtol=close)
    assert found.nbytes < 64 * 32 * dtype.itemsize


@pytest.mark.parametrize("name", MADE)
def test_several_projections_lie_side_by_side(name: str) -> None:
    found = layout(MADE[name]).projection([name] * 3, lambda full: golden().get(full), None, torch.float32)

    torch.testing.assert_close(found.dense(), golden()[f"{name}.dense"].repeat(3, 1), atol=1e-6, rtol=1e-5)


def test_a_plain_projection_may_lie_beside_quantized_ones() -> None:
    tensors = golden() | {"plain.weight": golden()["weight"]}
    bias = torch.randn(64)
    found = layout(AWQ).projection(["awq", "plain"], tensors.get, bias, torch.float32)
    x = torch.randn(3, 64)

    dense = torch.cat((golden()["awq.dense"], golden()["weight"]))
    torch.testing.assert_close(found.dense(), dense)
    torch.testing.assert_close(found(x), x @ dense.t() + bias, atol=1e-4, rtol=1e-4)
    assert found.bias is not None
    assert torch.equal(found.bias, bias)


@pytest.mark.parametrize("name", MADE)
def test_the_tensors_of_a_checkpoint_are_known_before_it_is_loaded(name: str) -> None:
    header = {
        full: info
        for full, info in read_header(GOLDEN).items()
        if full.startswith(f"{name}.") and not full.endswith((".dense", "qzeros_v2"))
    }
    expected = layout(MADE[name]).expected(name, (32, 64), header)

    assert {full: wanted.shape for full, wanted in expected.items()} == {f: i.shape for f, i in header.items()}
    assert all(header[full].dtype in wanted.dtypes for full, wanted in expected.items())


@pytest.mark.parametrize("name", ["int8", "int4_sym", "int4_asym"])
def test_torchao_rounds_the_same_weight_to_the_same_values(name: str) -> None:
    """Its scales are float32, ours bfloat16; a weight on the edge of two levels may go to either."""
    weight, theirs = golden()["weight"], golden()[f"torchao.{name}"]
    if name == "int8":
        ours, step = int8.round_to_nearest(weight).dense(), weight.abs().amax(1, keepdim=True) / 127
    else:
        codes = round_to_nearest(weight, 32, symmetric=name == "int4_sym")
        ours, step = codes.dense(), codes.scale.float().repeat_interleave(32, 1)

    steps = (ours - theirs).abs() / step
    most = 127 if name == "int8" else 15
    assert float(steps.max()) < 1 + most * 2**-8
    assert float((steps > most * 2**-8).float().mean()) < (0.25 if name == "int8" else 0.02)


def test_bitsandbytes_levels_are_ours() -> None:
    form = layout(MADE["bnb_nf4"]).form(reader("bnb_nf4"))
    assert isinstance(form, NormalCodes)
    from plugins.quantization import nf4

    ours = nf4.round_to_nearest(golden()["weight"], 64, double=False)
    torch.testing.assert_close(form.levels, nf4.LEVELS)
    torch.testing.assert_close(ours.dense(), golden()["bnb_nf4.dense"])
    assert torch.equal(ours.packed, form.packed)


REFUSED: dict[str, tuple[Settings, str]] = {
    "unknown": (
        {"quant_method": "hqq"},
        "quant_method is 'hqq': such quantized weights cannot run, only awq, bits",
    ),
    "missing": ({}, "quant_method is None: such quantized weights cannot run"),
    "gptq of 3 bits": (GPTQ | {"bits": 3}, "bits is 3: it can only be read where it is 4"),
    "marlin": (
        GPTQ | {"checkpoint_format": "marlin"},
        "checkpoint_format is 'marlin': it can only be read where",
    ),
    "gemv": (AWQ | {"version": "gemv"}, "version is 'gemv': it can only be read where it is 'gemm' or 'GEMM'"),
    "float": (compressed(INT8 | {"type": "float"}), "type is 'float'"),
    "sparse": (compressed(INT4, "marlin-24"), "format is 'marlin-24'"),
    "grouped eight bits": (
        compressed(INT8 | {"strategy": "group", "group_size": 32}),
        "num_bits is 8: eight bits can",
    ),
    "static activations": (
        compressed(INT8, "int-quantized", {"num_bits": 8, "type": "int", "dynamic": False, "strategy": "tensor"}),
        "dynamic is False: it can only be read where it is True",
    ),
    "rotated": (compressed(INT4) | {"transform_config": {"r1": 1}}, "transform_config is {'r1': 1}"),
    "quantized cache": (
        compressed(INT4) | {"kv_cache_scheme": {"num_bits": 8}},
        "kv_cache_scheme is {'num_bits': 8}",
    ),
    "neither 4 nor 8": ({"quant_method": "bitsandbytes"}, "one of load_in_4bit and load_in_8bit must be true"),
    "stored otherwise": (NF4 | {"bnb_4bit_quant_storage": "bfloat16"}, "bnb_4bit_quant_storage is 'bfloat16'"),
}


@pytest.mark.parametrize(("settings", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line(settings: Settings, said: str) -> None:
    with pytest.raises(ModelError) as error:
        layout(settings)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_inputs_that_were_reordered_need_the_index_of_their_groups() -> None:
    assert "q.g_idx" in layout(GPTQ | {"desc_act": True}).expected("q", (32, 64), {})
    assert "q.g_idx" not in layout(GPTQ | {"desc_act": True, "group_size": -1}).expected("q", (32, 64), {})
    assert "q.g_idx" not in layout(GPTQ).expected("q", (32, 64), {})
    for order, needed in (
        ("group", True),
        ("dynamic", True),
        ("weight", False),
        ("static", False),
        (None, False),
    ):
        ordered = layout(compressed(INT4 | {"actorder": order})).expected("q", (32, 64), {})
        assert ("q.weight_g_idx" in ordered) is needed


def test_groups_that_do_not_divide_the_inputs_are_refused() -> None:
    with pytest.raises(ModelError, match="groups of 48 do not divide the 64 inputs of q"):
        layout(GPTQ | {"group_size": 48}).expected("q", (32, 64), {})


@pytest.mark.parametrize("group", [0, -1, 1 << 30])
def test_a_group_index_of_unequal_groups_is_refused(group: int) -> None:
    tensors = {f"gptq.{part}": golden()[f"gptq.{part}"] for part in ("qweight", "qzeros", "scales")}
    tensors["gptq.g_idx"] = torch.full((64,), group, dtype=torch.int32)
    with pytest.raises(ModelError, match="same number of inputs in every group"):
        layout(GPTQ).projection(["gptq"], tensors.get, None, torch.float32)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (b"{", "quant_state of a weight cannot be read"),
        (b'{"shape": [32, 64], "blocksize": 0}', "blocksize"),
        (b'{"shape": [9, 64], "blocksize": 64}', "the weight has another one"),
    ],
)
def test_a_quant_state_that_does_not_fit_is_refused(state: bytes, said: str) -> None:
    tensors = dict(golden())
    tensors["bnb_nf4.weight.quant_state.bitsandbytes__nf4"] = torch.frombuffer(
        bytearray(state), dtype=torch.uint8
    )
    with pytest.raises(ModelError, match=said):
        layout(NF4).projection(["bnb_nf4"], tensors.get, None, torch.float32)
