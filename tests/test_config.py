"""config.json as transformers reads it, under old and new names; what cannot run is refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.model.config import ModelConfig, read_config
from engine.model.errors import ModelError

BASE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "max_position_embeddings": 512,
}
FAMILIES = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "mistral": "Mistral"}


def write(folder: Path, values: dict[str, Any], generation: dict[str, Any] | None = None) -> Path:
    (folder / "config.json").write_text(json.dumps(values))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def family(name: str, **values: Any) -> dict[str, Any]:
    return BASE | {"architectures": [f"{FAMILIES[name]}ForCausalLM"], "model_type": name} | values


def read(folder: Path, values: dict[str, Any]) -> ModelConfig:
    return read_config(write(folder, values))


def theirs(folder: Path) -> Any:
    """What transformers makes of the same file."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, local_files_only=True)


CASES: dict[str, dict[str, Any]] = {
    **{
        f"{name} bare": {"architectures": [f"{FAMILIES[name]}ForCausalLM"], "model_type": name}
        for name in FAMILIES
    },
    **{f"{name} small": family(name, num_key_value_heads=2) for name in FAMILIES},
    "llama KV heads absent": family("llama"),
    "llama KV heads null": family("llama", num_key_value_heads=None),
    "llama biases": family("llama", attention_bias=True, mlp_bias=True),
    "llama head_dim": family("llama", head_dim=24),
    "llama head_dim null": family("llama", head_dim=None),
    "llama ignores a window": family("llama", sliding_window=8),
    "qwen2 window off": family("qwen2", num_key_value_heads=8, sliding_window=8, max_window_layers=2),
    "qwen2 window on": family(
        "qwen2", num_key_value_heads=8, use_sliding_window=True, sliding_window=8, max_window_layers=2
    ),
    "qwen2 window null": family("qwen2", num_key_value_heads=8, use_sliding_window=True, sliding_window=None),
    "qwen3 layer types": family(
        "qwen3", num_key_value_heads=4, use_sliding_window=True, sliding_window=16,
        layer_types=["full_attention", "sliding_attention", "full_attention", "sliding_attention"],
    ),
    "qwen3 bias": family("qwen3", num_key_value_heads=4, attention_bias=True, head_dim=32),
    "mistral window absent": family("mistral"),
    "mistral window null": family("mistral", sliding_window=None),
    "mistral window": family("mistral", sliding_window=32),
    "eos list": family("llama", eos_token_id=[5, 6], bos_token_id=3),
    "eos null": family("llama", eos_token_id=None, bos_token_id=None),
    "old dtype": family("llama", torch_dtype="bfloat16"),
    "new dtype": family("llama", dtype="float16"),
    "both dtypes": family("llama", dtype="float16", torch_dtype="bfloat16"),
    "tied": family("llama", tie_word_embeddings=True),
    "eps": family("llama", rms_norm_eps=1e-5),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_config_means_what_transformers_makes_of_it(tmp_path: Path, name: str) -> None:
    ours = read(tmp_path, CASES[name])
    expected = theirs(tmp_path)

    assert ours.vocab_size == expected.vocab_size
    assert ours.hidden_size == expected.hidden_size
    assert ours.intermediate_size == expected.intermediate_size
    assert ours.layers == expected.num_hidden_layers
    assert ours.heads == expected.num_attention_heads
    assert ours.kv_heads == expected.num_key_value_heads
    assert ours.head_dim == getattr(expected, "head_dim", expected.hidden_size // expected.num_attention_heads)
    assert ours.max_position_embeddings == expected.max_position_embeddings
    assert ours.rms_norm_eps == expected.rms_norm_eps
    assert ours.tie_word_embeddings == expected.tie_word_embeddings
    assert ours.o_bias == getattr(expected, "attention_bias", False)
    assert ours.qkv_bias == (ours.family == "qwen2" or ours.o_bias)
    assert ours.mlp_bias == getattr(expected, "mlp_bias", False)
    assert ours.windows == windows_of(expected)
    assert ours.dtype == (None if expected.dtype is None else str(expected.dtype).removeprefix("torch."))
    assert ours.eos_ids == ids(expected.eos_token_id)
    assert ours.bos_ids == ids(expected.bos_token_id)
    assert ours.rope.theta == expected.rope_parameters["rope_theta"]
    assert ours.rope.type == expected.rope_parameters["rope_type"]


def windows_of(config: Any) -> tuple[int | None, ...]:
    if config.model_type == "llama":
        return (None,) * int(config.num_hidden_layers)
    types = getattr(config, "layer_types", ["sliding_attention"] * config.num_hidden_layers)
    return tuple(config.sliding_window if kind == "sliding_attention" else None for kind in types)


def ids(value: int | list[int] | None) -> tuple[int, ...]:
    return () if value is None else tuple(value) if isinstance(value, list) else (value,)


LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"rope_theta": 5000.0}, {"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}}),
        (
            {"rope_theta": 5000.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
            {"rope_parameters": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 2.0}},
        ),
        (
            {"rope_theta": 5000.0, "rope_scaling": {"rope_type": "llama3", **LLAMA3}},
            {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5000.0, **LLAMA3}},
        ),
        (
            {"rope_scaling": {"type": "yarn", "factor": 4.0}, "original_max_position_embeddings": 128},
            {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}},
        ),
        (
            {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
            {"rope_parameters": {"type": "dynamic", "factor": 2}},
        ),
        ({"rope_scaling": None, "torch_dtype": "float16"}, {"rope_parameters": None, "dtype": "float16"}),
        ({"torch_dtype": "torch.bfloat16"}, {"dtype": "bfloat16"}),
    ],
)
def test_old_and_new_key_names_mean_the_same(tmp_path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    assert read(tmp_path, BASE | old) == read(tmp_path, BASE | new)


def test_yarn_without_a_factor_takes_the_ratio_of_the_lengths(tmp_path: Path) -> None:
    rope = {"rope_type": "yarn", "original_max_position_embeddings": 128, "attention_factor": 1.5}
    config = read(tmp_path, BASE | {"rope_parameters": rope})
    assert config.rope.factor == 4.0
    assert config.rope.magnitude == 1.5


def test_generation_config_says_where_text_ends(tmp_path: Path) -> None:
    write(tmp_path, BASE | {"eos_token_id": 9}, {"eos_token_id": [7, 8], "bos_token_id": None})
    config = read_config(tmp_path)
    assert config.eos_ids == (7, 8)
    assert config.bos_ids == (1,)


def test_kv_arithmetic(tmp_path: Path) -> None:
    config = read(tmp_path, BASE | {"num_key_value_heads": 2})
    assert config.kv_bytes_per_token("float32") == 2 * 4 * 2 * 8 * 4
    assert config.kv_bytes_per_token("bfloat16") == 2 * 4 * 2 * 8 * 2


def test_dynamic_rope_stretches_the_context(tmp_path: Path) -> None:
    assert read(tmp_path, BASE).context_tokens == 512
    rope = {"rope_type": "dynamic", "factor": 2.0}
    assert read(tmp_path, BASE | {"rope_parameters": rope}).context_tokens == 1024


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel.*is not supported: it must be one"),
    "no architecture": ({"architectures": None, "model_type": None}, "is not supported"),
    "strange architecture": ({"architectures": [["x"]]}, "is not supported"),
    "activation": ({"hidden_act": "gelu"}, "hidden_act is 'gelu': only silu can run"),
    "quantized": ({"quantization_config": {"bits": 4}}, "quantized weights cannot run"),
    "zero layers": ({"num_hidden_layers": 0}, "num_hidden_layers is 0: it must be a whole number of at least 1"),
    "negative size": ({"hidden_size": -64}, "hidden_size is -64"),
    "text for a number": ({"vocab_size": "many"}, "vocab_size is 'many'"),
    "true for a number": ({"num_hidden_layers": True}, "num_hidden_layers is True"),
    "number for a flag": ({"tie_word_embeddings": 1}, "tie_word_embeddings is 1: it must be true or false"),
    "zero eps": ({"rms_norm_eps": 0}, "rms_norm_eps is 0: it must be a number above 0"),
    "uneven heads": ({"num_key_value_heads": 3}, "8 heads cannot share 3 KV heads evenly"),
    "odd head_dim": ({"head_dim": 7}, "head_dim is 7"),
    "dtype": ({"dtype": "int8"}, "dtype is 'int8': it must be one of float32, bfloat16, float16"),
    "eos": ({"eos_token_id": "end"}, "eos_token_id is 'end'"),
    "rope type": ({"rope_scaling": {"type": "su", "factor": 2}}, "rope type 'su' is not supported"),
    "rope kind": ({"rope_scaling": "linear"}, "rope_scaling is 'linear': it must be an object"),
    "rope factor": ({"rope_scaling": {"type": "linear"}}, "factor is missing"),
    "rope bands": (
        {"rope_scaling": {"type": "llama3", **LLAMA3, "high_freq_factor": 1.0}},
        "high_freq_factor is 1.0: it must be above low_freq_factor",
    ),
    "rope by layer type": (
        {"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "only one rope for all layers",
    ),
    "partial rope": ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
    "layer types": (
        {"architectures": ["Qwen3ForCausalLM"], "num_key_value_heads": 8, "layer_types": ["linear"] * 4},
        "'linear' cannot run",
    ),
    "layer types count": (
        {"architectures": ["Qwen3ForCausalLM"], "num_key_value_heads": 8, "layer_types": ["full_attention"]},
        "it must list one type for each of 4 layers",
    ),
    "window off, types on": (
        {
            "architectures": ["Qwen3ForCausalLM"], "num_key_value_heads": 8,
            "layer_types": ["sliding_attention"] * 4,
        },
        "sliding_attention needs sliding_window",
    ),
    "infinite theta": ({"rope_theta": float("inf")}, "rope_theta is inf: it must be a number above 0"),
    "huge theta": ({"rope_theta": 10**400}, "rope_theta is 1000.*\\.\\.\\.: it must be a number above 0"),
    "huge vocabulary": ({"vocab_size": 10**30}, "vocab_size is 1000"),
    "escape sequence": ({"hidden_act": "\x1b[2Jsilu"}, r"hidden_act is '\\x1b\[2Jsilu'"),
    "zero window": ({"architectures": ["MistralForCausalLM"], "sliding_window": 0}, "sliding_window is 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_run_is_refused_with_one_line(tmp_path: Path, name: str) -> None:
    change, message = REFUSED[name]
    with pytest.raises(ModelError, match=message) as error:
        read(tmp_path, BASE | change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "not valid JSON"), (b"[]", "a JSON list, an object is needed"), (b"\xff\xfe\x00", "not valid JSON")],
)
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_config(tmp_path)


def test_a_folder_that_is_missing_or_has_no_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        read_config(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"has no config\.json"):
        read_config(tmp_path)


def test_reading_a_config_and_headers_imports_no_torch() -> None:
    modules = "engine.model.config, engine.model.checkpoint, engine.model.fingerprint, engine.model.stage_names"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
