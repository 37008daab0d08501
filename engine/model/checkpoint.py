"""A folder's safetensors files, single or sharded, as one set of named tensors; checked, not loaded. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.model.config import ModelConfig
from engine.model.errors import ModelError, shown
from engine.model.json_fields import read_json
from engine.model.layouts import FLOATS, Expected
from engine.model.safetensors_header import TensorInfo, read_header
from engine.model.tensor_names import WEIGHT, expected_tensors, is_projection, may_be_ignored

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where every tensor of a folder lies: `location[name]` is its file, `tensors[name]` its header entry."""

    folder: Path
    tensors: Mapping[str, TensorInfo]
    location: Mapping[str, Path]

    @property
    def files(self) -> list[Path]:
        return sorted(set(self.location.values()))

    def check(self, config: ModelConfig) -> None:
        """Raises `ModelError`, naming the tensor, unless this is exactly what a model of `config` needs."""
        expected = self._expected(config)
        for name, wanted in expected.items():
            self._check_tensor(name, wanted)
        unknown = [name for name in self.tensors if name not in expected and not may_be_ignored(name)]
        if unknown:
            raise ModelError(
                f"{self.folder}: tensor {shown(unknown[0])} is not part of this {config.family} model "
                f"({len(unknown)} such tensors): leaving it out would give wrong results"
            )

    def _expected(self, config: ModelConfig) -> dict[str, Expected]:
        """Of a quantized model's projections each may be plain."""
        expected: dict[str, Expected] = {}
        for name, shape in expected_tensors(config).items():
            if config.layout is None or not is_projection(name) or self.is_plain(name):
                expected[name] = Expected(shape)
            else:
                expected |= config.layout.expected(name.removesuffix(WEIGHT), shape, self.tensors)
        return expected

    def is_plain(self, name: str) -> bool:
        """Whether the folder has a tensor of this name that is a number a weight."""
        return name in self.tensors and self.tensors[name].dtype in FLOATS

    def _check_tensor(self, name: str, wanted: Expected) -> None:
        info = self.tensors.get(name)
        if info is None:
            raise ModelError(
                f"{self.folder}: tensor {shown(name)} is missing: these are not the weights of this config"
            )
        if info.shape != wanted.shape:
            found, needed = shown(list(info.shape)), list(wanted.shape)
            raise ModelError(f"{self.folder}: tensor {shown(name)} is {found}, the config needs {needed}")
        if info.dtype not in wanted.dtypes:
            raise ModelError(
                f"{self.folder}: tensor {shown(name)} is {info.dtype}: only {', '.join(wanted.dtypes)} can run"
            )


def open_checkpoint(folder: Path) -> Checkpoint:
    """The headers of a folder's weights; `ModelError` when there are none or a file is not what it claims."""
    if (folder / SINGLE).is_file():
        tensors = read_header(folder / SINGLE)
        return Checkpoint(folder, tensors, dict.fromkeys(tensors, folder / SINGLE))
    if (folder / INDEX).is_file():
        return _open_shards(folder)
    raise ModelError(f"{folder}: has no {SINGLE} and no {INDEX}: only safetensors weights can be loaded")


def _open_shards(folder: Path) -> Checkpoint:
    weight_map = read_json(folder / INDEX).object("weight_map")
    headers: dict[str, dict[str, TensorInfo]] = {}
    tensors: dict[str, TensorInfo] = {}
    location: dict[str, Path] = {}
    for name in weight_map.values:
        shard = weight_map.text(name)
        if shard not in headers:
            headers[shard] = read_header(_shard_path(folder, shard))
        if name not in headers[shard]:
            raise ModelError(f"{folder / shard}: tensor {shown(name)} is missing, {INDEX} says it is there")
        tensors[name] = headers[shard][name]
        location[name] = folder / shard
    return Checkpoint(folder, tensors, location)


def _shard_path(folder: Path, shard: str) -> Path:
    if Path(shard).name != shard or shard in ("", ".", ".."):
        raise ModelError(f"{folder / INDEX}: shard {shown(shard)} is not a file name inside the folder")
    if not (folder / shard).is_file():
        raise ModelError(f"{folder}: shard {shown(shard)} is missing, {INDEX} names it")
    return folder / shard
