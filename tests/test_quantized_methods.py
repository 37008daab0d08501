"""The methods on the bundled model: what they lose, against full precision and against plain rounding."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from engine.kv.pool import KVPool
from engine.model.batch import Batch, Span
from engine.model.decoder import run
from engine.model.linear import Linear
from engine.model.projection import Place, ProjectionName
from engine.model.weights import load_decoder
from engine.option_error import OptionError
from plugins.quantization.around import Listening
from plugins.quantization.awq import awq, shared_by_heads
from plugins.quantization.gptq import gptq
from plugins.quantization.grid import round_to_nearest
from plugins.quantization.methods import METHODS, parse_method
from plugins.quantization.options import PROJECTIONS, AwqOptions, GptqOptions
from plugins.quantization.statistics import Statistics, output_error
from tests import commands
from tests.bundled import FOLDER, decoder
from tests.quantized import held_out, logits, perplexity, quantized, weights
from tests.tiny_models import save_model

IN_LAYERS = ("qkv", "o", "gate_up", "down")
LAYERS = range(6)


@cache
def statistics() -> dict[tuple[int, str], Statistics]:
    """Of every projection's inputs over held-out text, in full precision."""
    whole = decoder()
    heard: dict[tuple[int, str], Listening] = {}

    def listening(layer: Any) -> Any:
        own = {name: Listening(getattr(layer, name)) for name in IN_LAYERS}
        heard.update({(layer.index, name): each for name, each in own.items()})
        return replace(layer, **own)

    logits(replace(whole, layers=tuple(map(listening, whole.layers))), held_out())
    found = {place: Statistics(each.heard.shape[1]) for place, each in heard.items() if each.heard is not None}
    for place, each in heard.items():
        assert each.heard is not None
        found[place].add(each.heard)
    return found


def error(method: str, layer: int, name: str) -> float:
    """Squared error of a projection's outputs on text that calibration did not see."""
    off = weights(quantized(method), layer, name) - weights(decoder(), layer, name)
    return output_error(off, statistics()[layer, name].gram)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", IN_LAYERS)
def test_gptq_loses_less_of_every_layers_output_than_rounding_does(layer: int, name: str) -> None:
    assert error("gptq", layer, name) < error("int4", layer, name)


def test_awq_and_gptq_predict_better_than_rounding_does() -> None:
    rounded, whole = perplexity(quantized("int4")), perplexity(decoder())

    assert whole < perplexity(quantized("awq")) < rounded
    assert whole < perplexity(quantized("gptq")) < rounded


@pytest.mark.parametrize("method", ["int8", "w8a8"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_eight_bits_predict_as_full_precision_does(method: str, dtype: torch.dtype) -> None:
    ratio = perplexity(quantized(method, dtype)) / perplexity(quantized("", dtype))

    assert 0.99 < ratio < 1.01
    assert ratio != 1


@pytest.mark.parametrize("method", ["int4", "nf4", "gptq", "awq"])
def test_packed_kernels_predict_as_decoded_weights_do(method: str) -> None:
    packed, decoded = (perplexity(quantized(method, dtype)) for dtype in (torch.bfloat16, torch.float32))

    assert packed == pytest.approx(decoded, rel=0.01)


def test_only_what_is_covered_is_quantized() -> None:
    changed = quantized("int4=layers:1-2+4,keep:o+down,group:32")
    for layer in LAYERS:
        for name in IN_LAYERS:
            same = torch.equal(weights(changed, layer, name), weights(decoder(), layer, name))
            assert same == (layer not in (1, 2, 4) or name in ("o", "down"))
    assert changed.kernels["lm_head"] == "plain"
    assert quantized("int8=only:lm_head").kernels == decoder().kernels | {"lm_head": "int8 dequantized"}


def test_names_of_projections_are_the_engines() -> None:
    assert get_args(ProjectionName) == PROJECTIONS


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("int5", "method is 'int5': it must be one of int8, w8a8, int4, gptq, awq, nf4"),
        ("int4=size:3", "plugin int4 has no option size: it takes layers, only, keep, group, symmetric"),
        ("int4=group:48", "plugin int4: option group is '48': it must be one of 16, 32, 64, 128, 256"),
        ("nf4=block:many", "plugin nf4: option block is 'many': it must be one of 16, 32, 64, 128, 256"),
        ("int8=layers:3-1", "plugin int8: layers is '3-1': the range 3-1 ends before it begins, write 1-3"),
        ("int8=layers:all", "plugin int8: layers is 'all': 'all' is no range of layers, write 0-3 or 0-3+8"),
        ("nf4=keep:head", "plugin nf4: keep is 'head': 'head' is none of qkv, o, gate_up, down, lm_head"),
        ("gptq=damping:0", "plugin gptq: option damping is '0': it must be a number above 0 and of at most 1"),
        (
            "awq=length:1",
            "plugin awq: option length is '1': it must be a whole number of at least 2 and of at most 4096",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_said_in_one_line(spec: str, said: str) -> None:
    with pytest.raises(OptionError) as error:
        parse_method(spec)
    assert str(error.value).partition(" (")[0] == said


def test_a_method_for_kv_is_not_one_for_weights_and_the_line_says_what_it_is() -> None:
    with pytest.raises(
        OptionError, match=r"it must be one of int8, .* \(kv-int8 is for KV: --plugin kv-int8 runs"
    ):
        parse_method("kv-int8")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("int8=layers:4-6", "there is no layer 6, the model has layers 0 to 5"),
        ("int4=group:128", "group is 128: it does not divide the 192 inputs of qkv"),
        ("nf4=block:256", "block is 256: it does not divide the 192 inputs of qkv"),
        ("gptq=text:nowhere.txt", "text is 'nowhere.txt': it cannot be read"),
        ("gptq=length:4096,text:SHORT", "give a longer text or a smaller length"),
        ("awq=text:BINARY", "it is not UTF-8 text"),
    ],
)
def test_what_does_not_fit_the_model_is_said_in_one_line(spec: str, said: str, tmp_path: Path) -> None:
    for name, content in (("SHORT", b"def f():"), ("BINARY", b"\xff\xfe\x00")):
        (tmp_path / name).write_bytes(content)
        spec = spec.replace(name, str(tmp_path / name))
    method, options = parse_method(spec)
    with pytest.raises(OptionError) as error:
        load_decoder(FOLDER, torch.float32, method.prepare(FOLDER, torch.float32, options))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("spec", ["int4=layers:4-6", "int4=group:128", "gptq=text:nowhere.txt"])
def test_a_run_says_whose_option_does_not_fit_the_model(spec: str) -> None:
    done = commands.run("record", "--plugin", spec, "--prompt", "x", "--max-tokens", 1)
    name, option, _value = re.split("[=:]", spec)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"workbench: plugin {name}: {option} is ")
    assert done.err.count("\n") == 1


def test_methods_are_known_without_torch() -> None:
    use = "import sys, plugins.quantization.methods as m; m.parse_method('gptq=group:32')"
    code = [sys.executable, "-c", f"{use}; print('torch' in sys.modules)"]
    told = subprocess.run(code, check=True, capture_output=True, text=True)
    assert told.stdout == "False\n"


# -- the algorithms, against ones written from the papers without a thought for speed --------------------


def inputs(rows: int, columns: int) -> Tensor:
    """Correlated, of unequal size, and one of them never active."""
    source = torch.Generator().manual_seed(1)
    mixed = torch.randn(rows, columns, generator=source) @ torch.randn(columns, columns, generator=source)
    mixed *= torch.linspace(0.1, 4, columns)
    mixed[:, 5] = 0
    return mixed


def counted(x: Tensor) -> Statistics:
    found = Statistics(x.shape[1])
    found.add(x[:100])
    found.add(x[100:])
    return found


def surgeon(weight: Tensor, hessian: Tensor, options: GptqOptions) -> Tensor:
    """Optimal Brain Quantization in one fixed order: the inverse Hessian shrinks by a column at a time."""
    weight, inverse = weight.double().clone(), hessian.double().inverse()
    rounded = torch.empty_like(weight)
    for column in range(weight.shape[1]):
        if column % options.group == 0:
            part = weight[:, column : column + options.group].float()
            codes = round_to_nearest(part, options.group, options.symmetric)
            scale, zero = codes.scale.double()[:, 0], codes.zero.double()[:, 0]
        rounded[:, column] = ((weight[:, column] / scale).round().add(zero).clamp(0, 15) - zero) * scale
        error = (weight[:, column] - rounded[:, column]) / inverse[column, column]
        weight -= error[:, None] * inverse[column]
        inverse -= inverse[:, column, None] * inverse[column] / inverse[column, column]
        inverse[column, column] = 1  # done with: it is not looked at again
    return rounded


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
def test_gptq_is_the_papers_algorithm(act_order: bool, symmetric: bool) -> None:
    options = GptqOptions(group=16, symmetric=symmetric, act_order=act_order, damping=0.05)
    weight, seen = torch.randn(24, 160, generator=torch.Generator().manual_seed(0)), counted(inputs(300, 160))
    found = gptq(weight, seen, options)

    gram = seen.gram / seen.rows
    mean = gram.diagonal().mean()
    hessian = gram + torch.diag((gram.diagonal() == 0).float()) * mean.clamp(min=1) + torch.eye(160) * 0.05 * mean
    order = gram.diagonal().argsort(descending=True) if act_order else torch.arange(160)
    expected = surgeon(weight[:, order], hessian[order][:, order], options)

    apart = found.dense()[:, order].double() - expected
    assert float((apart.abs() > 1e-4).float().mean()) < 0.02  # a tie rounded the other way changes what follows
    assert (found.order is not None) == act_order


def test_gptq_goes_on_where_the_hessian_is_singular() -> None:
    weight, one_row = torch.randn(8, 32), torch.ones(1, 32)
    seen = Statistics(32)
    seen.add(one_row)

    assert gptq(weight, seen, GptqOptions(group=16, damping=1e-9)).dense().isfinite().all()


@pytest.mark.parametrize("symmetric", [False, True])
def test_awq_gives_inputs_that_carry_much_finer_levels(symmetric: bool) -> None:
    x = inputs(300, 96)
    x[:, [7, 40, 71]] *= 20
    weight, seen = torch.randn(48, 96, generator=torch.Generator().manual_seed(0)), counted(x)
    options = AwqOptions(group=32, symmetric=symmetric, clip=False)
    scaled = awq(weight, seen.magnitude / seen.rows, seen.gram, options)
    off = round_to_nearest(weight, 32, symmetric).dense() - weight

    assert output_error(scaled.dense() - weight, seen.gram) < 0.6 * output_error(off, seen.gram)
    assert int(scaled.scale.argmax()) in (7, 40, 71)
    assert float(scaled.scale.max() * scaled.scale.min()) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("symmetric", [False, True])
def test_narrower_ranges_are_taken_only_where_they_lose_less(symmetric: bool) -> None:
    weight, seen = torch.randn(48, 96, generator=torch.Generator().manual_seed(0)), counted(inputs(300, 96))
    seen.gram = torch.diag(seen.gram.diagonal())  # then what is least for each group is least for all
    whole, clipped = (
        awq(weight, seen.magnitude / seen.rows, seen.gram, AwqOptions(group=32, symmetric=symmetric, clip=clip))
        for clip in (False, True)
    )
    errors = [output_error(made.dense() - weight, seen.gram) for made in (clipped, whole)]
    assert errors[0] < errors[1]


def test_heads_that_share_a_kv_head_share_their_scales() -> None:
    shared = shared_by_heads(torch.arange(12.0), kv_heads=2, head_dim=2).view(2, 3, 2)

    assert torch.equal(shared, torch.tensor([[2.0, 3.0], [8.0, 9.0]])[:, None].expand(2, 3, 2))


# -- whole models ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral"])
def test_every_family_runs_quantized(family: str, tmp_path: Path) -> None:
    extra = {"head_dim": 16} if family == "qwen3" else {}
    save_model(tmp_path, family, hidden_size=96, intermediate_size=64, **extra)
    ids = (1, 5, 9, 13, 2, 40)
    whole = logits(load_decoder(tmp_path, torch.float32), [ids])
    for spec in ("int8", "w8a8", "int4=group:16", "nf4=block:16"):
        method, options = parse_method(spec)
        made = load_decoder(tmp_path, torch.float32, method.prepare(tmp_path, torch.float32, options))
        off = (logits(made, [ids]) - whole).norm() / whole.norm()
        assert 0 < float(off) < 0.8


def test_a_decoder_of_packed_weights_computes_what_its_dense_weights_do() -> None:
    """The packed model beside a plain one on the weights that it stands for: the same logits."""
    packed = quantized("gptq=group:32")

    def stands_for(place: Place, _weight: Tensor, bias: Tensor | None) -> Any:
        projection = (
            packed.lm_head if place.name == "lm_head" else getattr(packed.layers[place.layer], place.name)
        )
        return Linear(projection.dense(), bias)

    plain = load_decoder(FOLDER, torch.float32, stands_for)
    ids = [held_out()[0][:64]]
    torch.testing.assert_close(logits(packed, ids), logits(plain, ids), atol=1e-3, rtol=1e-4)


def test_one_token_at_a_time_is_as_all_at_once() -> None:
    for spec in ("w8a8", "int4"):
        model, ids = quantized(spec), held_out()[0][:12]
        pool = KVPool(model.config, 1, 16)
        with torch.inference_mode():
            rows = [
                run(model.stages(Batch.build([Span("a", i, 1, [0])], [t], 16), pool)) for i, t in enumerate(ids)
            ]
        torch.testing.assert_close(torch.cat(rows), logits(model, [ids])[0], atol=0.05, rtol=0.01)


def test_every_method_has_a_line_about_itself() -> None:
    assert set(METHODS) == {"int8", "w8a8", "int4", "gptq", "awq", "nf4"}
    assert all(method.summary and "\n" not in method.summary for method in METHODS.values())
