"""What a model folder holds, whether this engine runs it, and why not; read from its headers. No torch."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import msgspec

from engine.model.checkpoint import Checkpoint, open_checkpoint
from engine.model.config import ModelConfig, read_config
from engine.model.errors import ModelError
from engine.model.json_fields import read_json
from engine.model.tensor_names import LM_HEAD, expected_tensors
from workbench.cli.folders import is_bundled

CONFIG = "config.json"
DTYPE_NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


class ModelFile(msgspec.Struct, frozen=True):
    """One file of the folder and its size."""

    name: str
    size_bytes: int


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """A model at a glance. What cannot be read is None; `why_not` says why this engine does not run it."""

    name: str
    path: str
    source: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    dtype: str | None = None
    context_tokens: int | None = None
    layers: int | None = None
    hidden_size: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    vocab_size: int | None = None
    kv_bytes_per_token: int | None = None
    runs: bool = False
    why_not: str | None = None
    files: tuple[ModelFile, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def describe(folder: Path, name: str, source: str | None = None) -> ModelCard:
    """The card of a model folder; never raises for a folder that exists."""
    config, no_config = _try_config(folder)
    checkpoint, no_weights = _try_checkpoint(folder)
    why_not = no_config or no_weights or _mismatch(checkpoint, config) or missing_tokenizer(folder)
    card = ModelCard(
        name=name,
        path=str(folder),
        source=source,
        architecture=_architecture(folder),
        parameters=_parameters(checkpoint, config),
        dtype=config.layout.name if config is not None and config.layout is not None else _dtype(checkpoint),
        runs=why_not is None,
        why_not=why_not,
        files=_files(folder),
    )
    return card if config is None else _with_shape(card, config, folder)


def _with_shape(card: ModelCard, config: ModelConfig, folder: Path) -> ModelCard:
    runs_in = "float32" if is_bundled(folder) else config.dtype or "float32"
    return msgspec.structs.replace(
        card,
        context_tokens=config.context_tokens,
        layers=config.layers,
        hidden_size=config.hidden_size,
        heads=config.heads,
        kv_heads=config.kv_heads,
        head_dim=config.head_dim,
        vocab_size=config.vocab_size,
        kv_bytes_per_token=config.kv_bytes_per_token(runs_in),
    )


def _try_config(folder: Path) -> tuple[ModelConfig | None, str | None]:
    try:
        return read_config(folder), None
    except ModelError as error:
        return None, str(error)


def _try_checkpoint(folder: Path) -> tuple[Checkpoint | None, str | None]:
    try:
        return open_checkpoint(folder), None
    except ModelError as error:
        return None, str(error)


def _mismatch(checkpoint: Checkpoint | None, config: ModelConfig | None) -> str | None:
    assert checkpoint is not None
    assert config is not None
    try:
        checkpoint.check(config)
    except ModelError as error:
        return str(error)
    return None


def missing_tokenizer(folder: Path) -> str | None:
    """What to say about a folder without any of the files that hold a tokenizer; None when there is one."""
    if any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        return None
    return f"{folder}: has no tokenizer.json: without it text cannot become tokens"


def _architecture(folder: Path) -> str | None:
    """The class that config.json names, ours or not."""
    try:
        fields = read_json(folder / CONFIG)
    except ModelError:
        return None
    names = fields.values.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else None


def _parameters(checkpoint: Checkpoint | None, config: ModelConfig | None) -> int | None:
    """The numbers stored, or stood for by those that are; a tied output matrix counted once."""
    if checkpoint is None:
        return None
    if config is not None and config.layout is not None:
        return sum(map(math.prod, expected_tensors(config).values()))
    tied = config is not None and config.tie_word_embeddings
    counted = (info for name, info in checkpoint.tensors.items() if not (tied and name == LM_HEAD))
    return sum(math.prod(info.shape) for info in counted)


def _dtype(checkpoint: Checkpoint | None) -> str | None:
    """The type most of the weights are stored in."""
    if checkpoint is None or not checkpoint.tensors:
        return None
    stored: Counter[str] = Counter()
    for info in checkpoint.tensors.values():
        stored[info.dtype] += math.prod(info.shape)
    most = stored.most_common(1)[0][0]
    return DTYPE_NAMES.get(most, most)


def _files(folder: Path) -> tuple[ModelFile, ...]:
    return tuple(ModelFile(path.name, path.stat().st_size) for path in sorted(folder.iterdir()) if path.is_file())
