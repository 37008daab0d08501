"""An adapter folder's tensors, held against a model's config: which projection each pair belongs to. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.model.config import ModelConfig
from engine.model.errors import ModelError, shown
from engine.model.fingerprint import sha256_files
from engine.model.lora.config import CONFIG, WEIGHTS, AdapterConfig, read_adapter_config
from engine.model.safetensors_header import TensorInfo, read_header
from engine.model.tensor_names import layer_prefix, layer_tensors

FLOATS = ("F32", "F16", "BF16")
_PREFIX = "base_model.model."
_NAME = re.compile(re.escape(_PREFIX) + r"(model\.layers\.\d{1,6}\.[a-z_.]{1,64}?)\.lora_([AB])\.weight")


@dataclass(frozen=True, slots=True)
class Pair:
    """The two factors of one projection's change, scale · B A, by their names in the file.

    `module` is the projection's path in the model, `layer` and `part` the same taken apart (`self_attn.q_proj`).
    """

    module: str
    layer: int
    part: str
    rank: int
    scale: float

    @property
    def a(self) -> str:
        """`[rank, in]`"""
        return f"{_PREFIX}{self.module}.lora_A.weight"

    @property
    def b(self) -> str:
        """`[out, rank]`"""
        return f"{_PREFIX}{self.module}.lora_B.weight"


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """What an adapter folder holds, checked against one model; nothing is loaded yet."""

    folder: Path
    config: AdapterConfig
    pairs: tuple[Pair, ...]

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS


def adapter_sha256(folder: Path) -> str:
    """SHA-256, in hex, of an adapter's config and weights, one after the other."""
    return sha256_files([folder / CONFIG, folder / WEIGHTS])


def open_adapter(folder: Path, model: ModelConfig) -> AdapterFiles:
    """The adapter in `folder` for `model`.

    Raises ModelError, in one line, where it cannot be run, or was made for another model.
    """
    config = read_adapter_config(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise ModelError(f"{folder}: has no {WEIGHTS}: only adapters in safetensors can be loaded")
    tensors = read_header(path)
    for name in tensors:
        if _NAME.fullmatch(name) is None:
            raise ModelError(f"{path}: tensor {shown(name)} is no low-rank factor of a layer's projection")
    _check_targets(folder, config, model)
    pairs = tuple(_pairs(path, config, tensors, model))
    if not pairs:
        raise ModelError(f"{path}: has no tensors: this adapter changes nothing")
    return AdapterFiles(folder, config, pairs)


def projection_shapes(model: ModelConfig) -> dict[str, tuple[int, int]]:
    """`(out, in)` of every projection in a layer, by its path there, such as `mlp.up_proj`."""
    names = layer_tensors(model).items()
    return {
        name.removesuffix(".weight"): (shape[0], shape[1])
        for name, shape in names if name.endswith("_proj.weight")
    }  # fmt: skip


def _check_targets(folder: Path, config: AdapterConfig, model: ModelConfig) -> None:
    modules = {f"{layer_prefix(0)}{part}" for part in projection_shapes(model)}
    for target in config.targets:
        end = target.rpartition(".")[2]
        if not any(module.endswith(f".{end}") for module in modules):
            names = ", ".join(sorted(module.rpartition(".")[2] for module in modules))
            raise ModelError(
                f"{folder}: it adapts {shown(target)}, and what can be adapted in this {model.family} model is"
                f" {names}: it was made for another model"
            )


def _pairs(
    path: Path, config: AdapterConfig, tensors: Mapping[str, TensorInfo], model: ModelConfig
) -> Iterator[Pair]:
    shapes = projection_shapes(model)
    modules = dict.fromkeys(match[1] for match in map(_NAME.fullmatch, tensors) if match)
    for module in modules:
        layer, part = _place(module)
        if layer >= model.layers or part not in shapes:
            raise ModelError(
                f"{path}: it adapts {shown(module)}, which this {model.family} model of {model.layers} layers"
                " does not have: it was made for another model"
            )
        pair = Pair(module, layer, part, config.rank_of(module), config.scale_of(module))
        rows, columns = shapes[part]
        _check_tensor(path, tensors, pair.a, (pair.rank, columns))
        _check_tensor(path, tensors, pair.b, (rows, pair.rank))
        yield pair


def _place(module: str) -> tuple[int, str]:
    """Layer and path in the layer of `model.layers.3.mlp.up_proj`."""
    number, _, part = module.removeprefix("model.layers.").partition(".")
    return int(number), part


def _check_tensor(path: Path, tensors: Mapping[str, TensorInfo], name: str, wanted: tuple[int, int]) -> None:
    info = tensors.get(name)
    if info is None:
        raise ModelError(f"{path}: tensor {name} is missing, and its partner is there")
    if info.shape != wanted:
        raise ModelError(
            f"{path}: tensor {name} is {shown(list(info.shape))}, this model and {CONFIG} need"
            f" {list(wanted)}: it was made for another model"
        )
    if info.dtype not in FLOATS:
        raise ModelError(f"{path}: tensor {name} is {info.dtype}: only {', '.join(FLOATS)} can run")
