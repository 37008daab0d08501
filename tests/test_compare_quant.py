"""`compare-quant`: its numbers against transformers and plain arithmetic, and what it keeps."""

from __future__ import annotations

import json
import math
from array import array
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.model.fingerprint import fingerprint
from engine.model.reference import Reference, load_reference
from engine.model.weights import load_decoder
from engine.option_error import OptionError
from engine.text.tokenizer import Tokenizer
from plugins.quantization import measure as measuring
from plugins.quantization.grid import round_to_nearest
from plugins.quantization.measure import mixed, stretches
from plugins.quantization.measure_weights import histogram, on_grid, tensor_error
from plugins.quantization.measure_windows import stride_of, windows
from sessions.quantization_kept import MeasuredText, model_folder, read_studies
from tests.bundled import FOLDER
from tests.commands import run
from tests.quantized import quantized
from workbench.cli.compare_quant import SAMPLE, split_methods

METHOD = "int4=group:32"
WINDOW = 128


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.py"
    path.write_text(SAMPLE.read_text(encoding="utf-8")[:1500], encoding="utf-8")
    return path


def compared(text: Path, *more: object) -> dict[str, Any]:
    ran = run("compare-quant", FOLDER, "--text", text, "--window", WINDOW, "--json", *more)
    assert ran.code == 0, ran.err
    found: dict[str, Any] = json.loads(ran.out)
    return found


@pytest.fixture
def by_transformers() -> Reference:
    """The bundled model there with the weights that our int4 stands for."""
    reference = load_reference(FOLDER, torch.float32)
    decoder, model = quantized(METHOD), reference.model
    for ours, theirs in zip(decoder.layers, model.model.layers, strict=True):
        attention, mlp = theirs.self_attn, theirs.mlp
        _set(ours.qkv.dense(), attention.q_proj, attention.k_proj, attention.v_proj)
        _set(ours.gate_up.dense(), mlp.gate_proj, mlp.up_proj)
        _set(ours.o.dense(), attention.o_proj)
        _set(ours.down.dense(), mlp.down_proj)
    model.lm_head.weight = torch.nn.Parameter(decoder.lm_head.dense())  # no longer the embedding
    return reference


def _set(dense: Tensor, *linears: Any) -> None:
    parts = dense.split_with_sizes([linear.out_features for linear in linears])
    for linear, part in zip(linears, parts, strict=True):
        linear.weight = torch.nn.Parameter(part.clone())


def test_perplexity_kl_and_flips_are_those_of_transformers(text: Path, by_transformers: Reference) -> None:
    found = compared(text, "--methods", METHOD)
    full, ids = load_reference(FOLDER, torch.float32), Tokenizer.from_folder(FOLDER).encode(text.read_text())
    nll, other_nll, kl, flips = 0.0, 0.0, [], []
    begin, done = 0, 0
    while done < len(ids):  # windows as the command says them, cut here once more
        end = min(begin + WINDOW - 1, len(ids))
        inputs = [0, *ids[begin:end]]
        p, q = (
            each.logits(inputs)[:-1].double().log_softmax(-1)[done - begin :] for each in (full, by_transformers)
        )
        target = torch.tensor(ids[done:end])[:, None]
        nll -= float(p.gather(-1, target).sum())
        other_nll -= float(q.gather(-1, target).sum())
        kl += (p.exp() * (p - q)).sum(-1).tolist()
        flips += [done + at for at in (p.argmax(-1) != q.argmax(-1)).nonzero()[:, 0].tolist()]
        begin, done = begin + found["stride"], end

    method = found["methods"][0]
    assert found["positions"] == len(ids) == len(kl)
    assert found["baseline"]["perplexity"] == pytest.approx(math.exp(nll / len(ids)), abs=1e-3)
    assert method["perplexity"] == pytest.approx(math.exp(other_nll / len(ids)), abs=1e-3)
    assert method["kl_mean"] == pytest.approx(sum(kl) / len(kl), abs=1e-5)
    assert method["kl"] == pytest.approx(kl, abs=1e-3)
    assert method["kl_positions"] == 1
    assert sorted(flip["position"] for flip in method["flips"]) == flips
    assert method["top1_agreement"] == pytest.approx(1 - len(flips) / len(ids))


def test_margins_come_largest_first_and_texts_are_those_of_the_tokens(text: Path) -> None:
    flips = compared(text, "--methods", METHOD)["methods"][0]["flips"]
    tokenizer = Tokenizer.from_folder(FOLDER)

    margins = [flip["margin"] for flip in flips]
    assert margins == sorted(margins, reverse=True)
    assert all(tokenizer.token_text(flip["full"]) == flip["full_text"] for flip in flips)


def test_bytes_are_of_all_weights_and_of_those_that_changed(text: Path) -> None:
    found = compared(text, "--methods", METHOD)
    method, decoder = found["methods"][0], quantized(METHOD)
    projections = [getattr(layer, name) for layer in decoder.layers for name in ("qkv", "o", "gate_up", "down")]
    after = sum(each.nbytes for each in (*projections, decoder.lm_head))

    assert method["quantized_after"] == after
    assert method["quantized_before"] == 4 * method["weights"]
    assert method["bits_per_weight"] == pytest.approx(8 * after / method["weights"])
    assert found["baseline"]["bytes"] - method["bytes"] == method["quantized_before"] - after
    assert method["embedding_bytes"] == decoder.embed.nbytes


def test_each_layer_is_tried_alone_and_left_out(text: Path) -> None:
    method = compared(text, "--methods", METHOD, "--each")["methods"][0]
    alone = {layer["layer"]: layer["alone"] for layer in method["layers"]}

    assert [alone[layer] for layer in method["blame"]] == sorted(alone.values(), reverse=True)
    assert set(alone) == {-1, *range(6)}
    assert all(0 < layer["alone"] < method["kl_mean"] for layer in method["layers"])
    assert method["blame"][0] == min(method["layers"], key=lambda layer: layer["all_but"])["layer"]


def test_a_mixed_model_has_one_layer_of_the_other() -> None:
    full, other = load_decoder(FOLDER, torch.float32), quantized(METHOD)
    assert [a is b for a, b in zip(mixed(full, other, 2).layers, other.layers, strict=True)].index(True) == 2
    assert mixed(full, other, -1).lm_head is other.lm_head
    assert mixed(other, full, -1).layers == other.layers


def test_what_was_measured_is_kept_until_force(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compared(text, "--methods", "int8")
    times = []
    again = measuring.measure
    monkeypatch.setattr(measuring, "measure", lambda *told: times.append(1) or again(*told))

    assert compared(text, "--methods", "int8") == first
    assert not times
    assert compared(text, "--methods", "int8", "--force") == first
    compared(text, "--methods", "int8=keep:o")
    text.write_text(text.read_text() + "x = 1\n")
    compared(text, "--methods", "int8")
    assert len(times) == 3


def test_what_is_kept_but_damaged_is_measured_again(text: Path, tmp_path: Path) -> None:
    first = compared(text, "--methods", "int8")
    folder = tmp_path / "state" / "workbench" / "quantization"
    (kept,) = (path for path in folder.rglob("*.json") if path.name != "text.json")
    kept.write_text("{")
    assert compared(text, "--methods", "int8") == first


def test_what_is_kept_is_found_by_the_hashes_of_the_model(text: Path) -> None:
    found = compared(text, "--methods", "int8,int4=group:32")
    compared(text, "--methods", "int4=group:32", "--each")
    marks = fingerprint(FOLDER)

    (study,) = read_studies(model_folder(marks.config_sha256, marks.weights_sha256))

    assert [each.method.method for each in study.methods] == ["int8", "int4=group:32"]
    assert study.methods[0].method.perplexity == found["methods"][0]["perplexity"]
    assert study.methods[1].method.layers[0].alone is not None  # the one that says more
    assert "".join(study.text.words) == text.read_text()
    assert read_studies(model_folder(marks.config_sha256, "0" * 64)) == []


@given(tokens=st.integers(2, 300), window=st.integers(8, 64), bos=st.booleans())
def test_the_text_knows_what_a_token_was_predicted_from(tokens: int, window: int, bos: bool) -> None:
    first = (999,) if bos else ()
    kept = MeasuredText("", "", "", window, stride_of(window, len(first)), first, tuple(range(tokens)), ())
    for each in windows(range(tokens), window, first):
        for position in range(each.first, each.first + each.scored):
            before = len(each.ids) - each.scored + position - each.first
            assert kept.before(position) == each.ids[:before]


def test_the_table_names_what_was_measured() -> None:
    ran = run("compare-quant", FOLDER, "--methods", "int8,gptq=samples:2,length:64,group:32")
    assert ran.code == 0, ran.err
    assert "bundled sample" in ran.err
    for said in ("gptq=samples:2,length:64,group:32", "lm_head", "255 levels", "16 levels", "flipped tokens"):
        assert said in ran.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--methods", "int5"), "'int5'"),
        (("--methods", "int4=layers:9"), "no layer 9"),
        (("--methods", "int4=group:32,symetric"), "symetric"),
        (("--methods", "int8", "--window", 3), "window is 3"),
        (("--methods", "int8=keep:qkv+o+gate_up+down+lm_head"), "no projection"),
        (("--methods", "int8", "--text", "nowhere.txt"), "nowhere.txt"),
        (("--methods", "int8", "--text", "/dev/null"), "0 tokens"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(arguments: tuple[object, ...], said: str) -> None:
    ran = run("compare-quant", FOLDER, *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err.splitlines()[-1]


def test_options_go_on_after_a_comma() -> None:
    assert [*split_methods("int4=group:32,keep:down,gptq,awq=samples:2,int8")] == [
        "int4=group:32,keep:down", "gptq", "awq=samples:2", "int8",
    ]  # fmt: skip


@given(tokens=st.integers(2, 300), window=st.integers(8, 64), bos=st.booleans())
def test_each_token_is_predicted_once_with_half_a_window_before_it(tokens: int, window: int, bos: bool) -> None:
    first = (999,) if bos else ()
    found = [*windows(range(tokens), window, first)]

    scored = [token for each in found for token in each.ids[-each.scored :]]
    assert scored == [*range(0 if bos else 1, tokens)]
    assert all(each.ids[-each.scored] == each.first and len(each.ids) <= window for each in found)
    assert all(len(each.ids) - each.scored >= stride_of(window, len(first)) for each in found[1:-1])


def test_a_window_or_a_text_that_is_too_small_is_refused() -> None:
    with pytest.raises(OptionError, match="at least 8"):
        [*windows(range(9), 7, ())]
    with pytest.raises(OptionError, match="nothing to predict"):
        [*windows([4], 8, ())]


@given(st.integers(1, 20_000))
def test_stretches_keep_the_mean(count: int) -> None:
    values = array("d", range(count))
    means, size = stretches(values)
    sizes = [min(size, count - start) for start in range(0, count, size)]
    assert len(means) == len(sizes) <= 4096
    assert sum(mean * many for mean, many in zip(means, sizes, strict=True)) == pytest.approx(sum(values))


def test_weights_lie_on_the_grid_that_rounds_them() -> None:
    weight = torch.randn(6, 64, generator=torch.Generator().manual_seed(3))
    codes = round_to_nearest(weight, 16, symmetric=False)
    units, levels = on_grid(codes, weight)
    found = histogram("w", units, levels)

    assert torch.equal(units.round().clamp(0, 15), codes.codes.float())
    assert sum(found.counts) + found.outside == weight.numel()
    assert found.levels == tuple(range(16))


def test_the_channel_that_is_furthest_off_is_named() -> None:
    weight = torch.ones(4, 8)
    dense = weight.clone()
    dense[2] *= 1.5
    error = tensor_error("w", weight, dense)
    assert (error.channel, error.channel_relative) == (2, pytest.approx(0.5))
    assert error.relative == pytest.approx(0.25)
