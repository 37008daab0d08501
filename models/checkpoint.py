"""Training state in one safetensors file, so that a run that was stopped can go on: no pickle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

Numbers = dict[str, Any]


def save(path: Path, model: nn.Module, optimizers: Sequence[Optimizer], progress: Numbers) -> None:
    """Write everything a run goes on from; the file is replaced whole or not at all."""
    tensors = {f"model/{name}": tensor.clone() for name, tensor in model.state_dict().items()}
    numbers: list[Numbers] = []
    for index, optimizer in enumerate(optimizers):
        state = optimizer.state_dict()
        kept: Numbers = {"param_groups": state["param_groups"], "state": {}}
        for parameter, values in state["state"].items():
            for name, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{index}/{parameter}/{name}"] = value
                else:
                    kept["state"].setdefault(str(parameter), {})[name] = value
        numbers.append(kept)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, {"optimizers": json.dumps(numbers), "progress": json.dumps(progress)})
    partial.replace(path)


def load(path: Path, model: nn.Module, optimizers: Sequence[Optimizer]) -> Numbers:
    """Put model and optimizers back as they were saved; the run's progress."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    model.load_state_dict(
        {name.removeprefix("model/"): tensor for name, tensor in tensors.items() if name.startswith("model/")}
    )
    for index, (optimizer, kept) in enumerate(zip(optimizers, json.loads(metadata["optimizers"]), strict=True)):
        state: dict[int, Numbers] = {int(parameter): values for parameter, values in kept["state"].items()}
        prefix = f"optimizer/{index}/"
        for name, tensor in tensors.items():
            if name.startswith(prefix):
                parameter, value = name.removeprefix(prefix).split("/")
                state.setdefault(int(parameter), {})[value] = tensor
        optimizer.load_state_dict({"param_groups": kept["param_groups"], "state": state})
    progress: Numbers = json.loads(metadata["progress"])
    return progress


__all__ = ["load", "save"]
