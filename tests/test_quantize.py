"""`quantize`: folders written in public formats, which the engine loads again as the weights they stand for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.model.errors import ModelError
from engine.model.projection import MakeProjection
from engine.model.weights import load_decoder
from plugins.quantization.methods import parse_method
from plugins.quantization.writing import write_folder
from tests.bundled import FOLDER
from tests.commands import run
from tests.quantized import logits
from tests.tiny_models import save_model

IDS = [(1, 5, 9, 13, 2, 40, 7, 7, 30)]

FORMATS = {
    "int8": "compressed-tensors",
    "w8a8": "compressed-tensors",
    "int4=group:16": "compressed-tensors",
    "int4=group:16,symmetric": "compressed-tensors",
    "int4=group:16,layers:1,keep:o": "compressed-tensors",
    "nf4=block:16": "bitsandbytes",
    "nf4=block:16,double": "bitsandbytes",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    save_model(folder, "qwen2", hidden_size=96, intermediate_size=64, tie_word_embeddings=False)
    return folder


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def in_memory(folder: Path, spec: str) -> MakeProjection:
    """The method on everything but the output matrix, as folders are written."""
    method, options = parse_method(
        f"{spec}{',' if '=' in spec else '='}{'' if 'keep' in spec else 'keep:lm_head'}"
    )
    return method.prepare(folder, torch.float32, options)


@pytest.mark.parametrize("spec", FORMATS)
def test_a_written_folder_is_the_model_that_the_method_makes(spec: str, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "written"
    output.mkdir()
    written = write_folder(model, output, parse_method(spec)[1])
    expected = logits(load_decoder(model, torch.float32, in_memory(model, spec)), IDS)

    assert written.format == FORMATS[spec]
    assert (
        json.loads((output / "config.json").read_text())["quantization_config"]["quant_method"] == written.format
    )
    # nested magnitudes are those of a weight in a file, of a fused projection in memory
    assert apart(logits(load_decoder(output, torch.float32), IDS), expected) < (0.1 if "double" in spec else 1e-5)


@pytest.mark.parametrize(
    "spec", ["gptq", "gptq=act_order:false,symmetric", "awq", "awq=keep:gate_up", "awq=keep:qkv"]
)
def test_calibrated_methods_are_written_as_they_are_made(spec: str, tmp_path: Path) -> None:
    """The scales that AWQ divides inputs by are taken out of norms, values and the rows of `up`."""
    short = f"{spec}{',' if '=' in spec else '='}samples:2,length:64,group:32"
    written = write_folder(FOLDER, tmp_path, parse_method(short)[1])
    method, options = parse_method(short)
    prepared = method.prepare(FOLDER, torch.bfloat16, options)  # as the folder is calibrated
    made = load_decoder(FOLDER, torch.float32, prepared)

    assert written.format == spec.partition("=")[0]
    ids = [tuple(range(100, 140))]
    loaded = load_decoder(tmp_path, torch.float32)
    assert loaded.layers[0].o.kernel == "int4 dequantized"
    made = replace(made, lm_head=loaded.lm_head)  # which a folder keeps
    assert apart(logits(loaded, ids), logits(made, ids)) < 0.005  # plain values and rows of up are bfloat16


def test_a_folder_has_what_a_model_needs_and_says_what_it_kept(tmp_path: Path) -> None:
    written = write_folder(FOLDER, tmp_path, parse_method("int4=layers:0,keep:down")[1])
    names = {path.name for path in tmp_path.iterdir()}
    tensors = load_file(tmp_path / "model.safetensors")

    assert names == {path.name for path in FOLDER.iterdir()}
    assert "model.layers.0.mlp.down_proj" in written.kept
    assert "model.layers.0.mlp.up_proj" not in written.kept
    assert len([name for name in written.kept if name.startswith("model.layers.1.")]) == 7
    assert "lm_head" in written.kept
    assert written.file == (tmp_path / "model.safetensors").stat().st_size
    assert written.weights == 192 * (192 + 128) + 192 * 192 + 192 * 1280
    assert written.after == sum(tensor.nbytes for name, tensor in tensors.items() if ".weight_" in name)
    assert written.after <= 0.30 * written.before


def test_what_is_written_is_not_quantized_again(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    write_folder(FOLDER, tmp_path / "a", parse_method("int8")[1])
    with pytest.raises(ModelError, match="its weights are quantized already"):
        write_folder(tmp_path / "a", tmp_path, parse_method("int4")[1])
    method, options = parse_method("int4")
    with pytest.raises(ModelError, match="its weights are quantized already"):
        load_decoder(tmp_path / "a", torch.float32, method.prepare(tmp_path / "a", torch.float32, options))


def test_the_command_writes_a_folder_that_records_run_on(tmp_path: Path) -> None:
    done = run("quantize", "tiny-python", "--method", "int8=only:qkv+down", "-o", tmp_path / "small", "--json")
    assert (done.code, done.err) == (0, "")
    result: dict[str, Any] = json.loads(done.out)
    assert result["format"] == "compressed-tensors"
    assert 8 < result["bits_per_weight"] < 8.2
    assert result["bytes_after"] < 0.52 * result["bytes_before"]

    shown = json.loads(run("models", "show", tmp_path / "small", "--json").out)
    whole = json.loads(run("models", "show", "tiny-python", "--json").out)
    assert shown["runs"] is True
    assert shown["dtype"] == "compressed-tensors"
    assert shown["parameters"] == whole["parameters"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere", "--method", "int4", "-o", "OUT"), "nowhere: no such folder or model"),
        (
            ("tiny-python", "--method", "int3", "-o", "OUT"),
            "method is 'int3': it must be one of int8, w8a8, int4",
        ),
        (("tiny-python", "--method", "int4=layers:9", "-o", "OUT"), "layers is '9': there is no layer 9"),
        (
            ("tiny-python", "--method", "int4=group:128", "-o", "OUT"),
            "group is 128: it does not divide the 192 inputs",
        ),
        (("tiny-python", "--method", "gptq=text:none.txt", "-o", "OUT"), "text is 'none.txt': it cannot be read"),
        (("tiny-python", "--method", "int4", "-o", "FULL"), "exists and is not empty: choose another name"),
        (("tiny-python", "--method", "int4", "-o", "OUT/deeper"), "make it first"),
        (
            ("tiny-python", "--method", "int4", "-o", FOLDER, "--force"),
            "is the model itself: write to another folder",
        ),
    ],
)
def test_what_cannot_be_quantized_leaves_nothing_behind(
    arguments: tuple[object, ...], said: str, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    paths = {"OUT": tmp_path / "out", "FULL": tmp_path / "full", "OUT/deeper": tmp_path / "out" / "deeper"}
    done = run("quantize", *(paths.get(str(each), each) for each in arguments))

    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]


def test_force_writes_over_a_folder_and_keeps_what_else_is_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = run("quantize", "tiny-python", "--method", "int8", "-o", tmp_path, "--force")

    assert done.code == 0
    assert "2,801,664 quantized" in done.out
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert load_decoder(tmp_path, torch.float32).layers[0].qkv.kernel == "int8 dequantized"
