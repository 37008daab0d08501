"""Model folders with random weights of a given shape, for measuring speed: no tokenizer, no sense.

python -m benchmarks.random_model 0.5b FOLDER --dtype bfloat16
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.model.config import read_config
from engine.model.tensor_names import expected_tensors
from engine.model.weights import DTYPES

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 4096,
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    },
    "0.5b": {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": 151936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": True,
    },
}
"""config.json of each shape: one like the bundled model, one like Qwen2.5-0.5B."""


def build(folder: Path, shape: str, dtype: str = "float32", seed: int = 0) -> None:
    """Writes config.json and model.safetensors of a random model to `folder`, which must exist."""
    (folder / "config.json").write_text(json.dumps(SHAPES[shape] | {"dtype": dtype}, indent=2))
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: _random(tensor_shape, generator).to(DTYPES[dtype])
        for name, tensor_shape in expected_tensors(read_config(folder)).items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _random(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Norm weights of one, small biases, and matrices that keep the size of what passes through."""
    if len(shape) == 1:
        return torch.ones(shape)
    return torch.randn(shape, generator=generator) * shape[1] ** -0.5


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a model folder with random weights.")
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    build(options.folder, options.shape, options.dtype)
    print(f"{options.folder}: {options.shape}, {options.dtype}", file=sys.stderr)


if __name__ == "__main__":
    main()
