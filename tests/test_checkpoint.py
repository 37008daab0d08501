"""A folder's weights, single or sharded, are exactly those of its config, or the folder is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.model.config import read_config
from engine.model.decoder import Decoder
from engine.model.errors import ModelError
from engine.model.fingerprint import fingerprint
from engine.model.reference import load_reference
from engine.model.tensor_names import expected_tensors
from engine.model.weights import load_decoder
from tests.tiny_models import Paged, save_model, token_ids

INDEX = "model.safetensors.index.json"
Q_PROJ = "model.layers.1.self_attn.q_proj.weight"
Tensors = dict[str, Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path, "llama")
    return tmp_path


def edit(folder: Path, change: Callable[[Tensors], Any]) -> None:
    """Rewrites a folder's only weight file with its tensors changed."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def edit_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads(path.read_bytes())
    change(values)
    path.write_text(json.dumps(values))


def logits(decoder: Decoder, count: int = 12) -> Tensor:
    paged = Paged(decoder)
    return paged.step((paged.request("a", token_ids(count)), count))[0]


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_expected_tensors_are_those_that_transformers_saves(tmp_path: Path, family: str, tied: bool) -> None:
    biases: dict[str, Any] = {"attention_bias": True} if family in ("llama", "qwen3") else {}
    save_model(tmp_path, family, tie_word_embeddings=tied, **biases)
    saved = {name: tuple(tensor.shape) for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    assert expected_tensors(read_config(tmp_path)) == saved


def test_a_sharded_folder_gives_the_same_logits(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    sharded = tmp_path_factory.mktemp("sharded")
    model = save_model(sharded, "llama")
    (sharded / "model.safetensors").unlink()
    model.save_pretrained(sharded, max_shard_size="50KB")

    assert len(list(sharded.glob("model-*.safetensors"))) > 2
    assert torch.equal(logits(load_decoder(sharded)), logits(load_decoder(folder)))
    assert fingerprint(sharded).weights_sha256 != fingerprint(folder).weights_sha256


CHANGES: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "missing": (lambda t: t.pop(Q_PROJ), f"tensor '{Q_PROJ}' is missing"),
    "misshapen": (
        lambda t: t.update({Q_PROJ: torch.zeros(48, 24)}),
        r"q_proj.weight' is \[48, 24\], the config needs \[48, 48\]",
    ),
    "transposed": (lambda t: t.update({"lm_head.weight": torch.zeros(48, 97)}), r"lm_head.weight' is \[48, 97\]"),
    "integers": (
        lambda t: t.update({Q_PROJ: torch.zeros(48, 48, dtype=torch.int32)}),
        "is I32: only F32, BF16, F16 can run",
    ),
    "a bias too many": (
        lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": torch.zeros(48)}),
        "q_proj.bias' is not part of this llama model",
    ),
    "a layer too many": (
        lambda t: t.update({"model.layers.3.mlp.up_proj.weight": torch.zeros(80, 48)}),
        r"layers\.3\.mlp.* is not part",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_weights_of_another_model_are_refused_by_name(folder: Path, name: str) -> None:
    change, message = CHANGES[name]
    edit(folder, change)
    with pytest.raises(ModelError, match=message) as error:
        load_decoder(folder)
    assert "\n" not in str(error.value)


def test_tensors_that_change_nothing_may_be_there(folder: Path) -> None:
    expected = logits(load_decoder(folder))
    edit(folder, lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}))
    assert torch.equal(logits(load_decoder(folder)), expected)


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no model\.safetensors and no"):
        load_decoder(folder)


def test_a_pickle_is_never_opened(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="only safetensors weights can be loaded"):
        load_decoder(folder)


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    model = save_model(tmp_path, "llama")
    (tmp_path / "model.safetensors").unlink()
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    return tmp_path


def test_a_missing_shard_is_named(sharded: Path) -> None:
    shard = min(sharded.glob("model-*.safetensors"))
    shard.unlink()
    with pytest.raises(ModelError, match=f"shard '{shard.name}' is missing"):
        load_decoder(sharded)


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "sub/x.safetensors", "..", ""])
def test_an_index_that_points_outside_the_folder_is_refused(sharded: Path, name: str) -> None:
    edit_json(sharded / INDEX, lambda index: index["weight_map"].update({Q_PROJ: name}))
    with pytest.raises(ModelError, match="is not a file name inside the folder"):
        load_decoder(sharded)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda index: index["weight_map"].update({"made.up": index["weight_map"][Q_PROJ]}),
            "'made.up' is missing",
        ),
        (lambda index: index["weight_map"].pop(Q_PROJ), f"tensor '{Q_PROJ}' is missing"),
        (lambda index: index["weight_map"].update({Q_PROJ: 5}), "q_proj.weight is 5: it must be a string"),
        (lambda index: index.update({"weight_map": []}), "weight_map is .*: it must be an object"),
        (lambda index: index.clear(), "is missing"),
    ],
)
def test_an_index_that_lies_is_refused(
    sharded: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    edit_json(sharded / INDEX, change)
    with pytest.raises(ModelError, match=message):
        load_decoder(sharded)


def test_a_corrupt_shard_is_named(sharded: Path) -> None:
    shard = max(sharded.glob("model-*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ModelError, match=f"{shard.name}.*truncated"):
        load_decoder(sharded)


def test_a_fingerprint_is_the_hash_of_the_files(folder: Path) -> None:
    found = fingerprint(folder)
    assert found.config_sha256 == hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    assert found.weights_sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_any_float_file_runs_in_any_float_type(tmp_path: Path, stored: torch.dtype, dtype: torch.dtype) -> None:
    save_model(tmp_path, "qwen3", stored, head_dim=16)
    expected = load_reference(tmp_path, dtype).logits(token_ids(12))

    ours = load_decoder(tmp_path, dtype)

    assert ours.dtype == dtype
    assert ours.embed.dtype == dtype
    tolerance = {torch.float32: 1e-4, torch.float16: 0.05, torch.bfloat16: 0.3}[dtype]
    found = logits(ours)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=1e-5)


def test_without_a_type_the_config_decides(tmp_path: Path) -> None:
    save_model(tmp_path, "llama", torch.bfloat16)
    assert load_decoder(tmp_path).dtype == torch.bfloat16
    edit_json(tmp_path / "config.json", lambda values: values.pop("dtype"))
    assert load_decoder(tmp_path).dtype == torch.float32
