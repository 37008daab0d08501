"""A model folder quantized into another one, in the method's public format.

The output matrix (`lm_head`) stays as it is, as in every public format: a model that shares it with its
embedding has no tensor to quantize.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.model.checkpoint import Checkpoint, open_checkpoint
from engine.model.config import ModelConfig, read_config
from engine.model.errors import ModelError
from engine.model.projection import Place, ProjectionName
from engine.model.tensor_names import EMBED, layer_prefix, layer_tensors
from engine.model.weights import DTYPES
from plugins.quantization.folding import fold
from plugins.quantization.forms import Form
from plugins.quantization.grid import Codes, ScaledCodes
from plugins.quantization.making import Forms, make_forms
from plugins.quantization.options import Calibrated, Where
from plugins.quantization.public import PublicFormat, public_format
from plugins.quantization.sequential import IN_ORDER, Told

PARTS: dict[ProjectionName, tuple[str, ...]] = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
COPIED = (".json", ".txt", ".model", ".jinja")
NOT_COPIED = ("config.json", "model.safetensors.index.json")


class Written(NamedTuple):
    """What a folder was quantized to. `before` and `after` are bytes of the weights that changed form."""

    format: str
    weights: int
    before: int
    after: int
    embedding: int
    file: int
    kept: tuple[str, ...]


def write_folder(source: Path, output: Path, options: Where, told: Told | None = None) -> Written:
    """Quantize the model in `source` into the folder `output`, which exists.

    Raises ModelError or OptionError; nothing is written before all is computed.
    """
    config, checkpoint = read_config(source), open_checkpoint(source)
    if config.layout is not None:
        raise ModelError(f"{source}: its weights are quantized already ({config.layout.name})")
    checkpoint.check(config)
    dtype = config.dtype or "float32"
    made = _Making(config, checkpoint, options, public_format(options, dtype))
    made.run(make_forms(source, DTYPES[dtype], options, told))
    _write_config(source, output, made)
    save_file(made.tensors, output / "model.safetensors", metadata={"format": "pt"})
    return made.written((output / "model.safetensors").stat().st_size)


class _Making:
    """The tensors of the new folder as they come to be."""

    def __init__(
        self, config: ModelConfig, checkpoint: Checkpoint, options: Where, written: PublicFormat
    ) -> None:
        self.config, self.checkpoint, self.options, self.format = config, checkpoint, options, written
        self.tensors: dict[str, Tensor] = {}
        self.kept: list[str] = ["lm_head"]
        self._weights = self._before = self._after = 0

    @torch.inference_mode()
    def run(self, form_of: Forms) -> None:
        with _Opened(self.checkpoint) as read:
            for index in range(self.config.layers):
                prefix = layer_prefix(index)
                layer = fold(dict(self._layer(index, form_of, read)), self.config)
                for name, weight in layer.items():
                    self._put(f"{prefix}{name}", weight)
            for name in self.checkpoint.tensors:
                if not name.startswith("model.layers."):
                    self.tensors[name] = read(name)

    def _layer(self, index: int, form_of: Forms, read: _Opened) -> Iterator[tuple[str, Form | Tensor]]:
        prefix = layer_prefix(index)
        for name in layer_tensors(self.config):
            part = name.removesuffix(".weight")
            if not part.endswith("_proj"):
                yield part, read(prefix + name)
        for fused in IN_ORDER:
            names = PARTS[fused]
            weights = [read(f"{prefix}{name}.weight") for name in names]
            yield from zip(names, self._forms(Place(index, fused), weights, form_of), strict=True)

    def _forms(self, place: Place, weights: list[Tensor], form_of: Forms) -> list[Form | Tensor]:
        """Calibrated methods know a fused projection only as a whole; others take each part for itself."""
        if not isinstance(self.options, Calibrated):
            return [_or(form_of(place, weight), weight) for weight in weights]
        whole = form_of(place, torch.cat(weights))
        if whole is None:
            return list(weights)
        return list(split_rows(whole, [len(weight) for weight in weights]))

    def _put(self, name: str, weight: Form | Tensor) -> None:
        if isinstance(weight, Tensor):
            if name.endswith("_proj"):
                self.kept.append(name)
            self.tensors[name if name.endswith(".bias") else f"{name}.weight"] = weight.contiguous()
            return
        stored = self.checkpoint.tensors[f"{name}.weight"]
        if stored.shape[0] % 8:
            raise ModelError(
                f"{name} has {stored.shape[0]} outputs: formats take multiples of 8: keep it as it is"
            )
        tensors = self.format.tensors(weight)
        self.tensors |= {f"{name}.{part}": tensor for part, tensor in tensors.items()}
        self._weights += stored.shape[0] * stored.shape[1]
        self._before += stored.end - stored.begin
        self._after += sum(tensor.nbytes for tensor in tensors.values())

    def written(self, file_bytes: int) -> Written:
        embedding = self.checkpoint.tensors[EMBED]
        return Written(
            self.format.name, self._weights, self._before, self._after, embedding.end - embedding.begin,
            file_bytes, tuple(self.kept),
        )  # fmt: skip


class _Opened:
    """The tensors of a folder by name."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def __enter__(self) -> _Opened:
        self._files: dict[Path, Any] = {path: safe_open(path, framework="pt") for path in self._checkpoint.files}
        return self

    def __exit__(self, *_: object) -> None:
        self._files.clear()

    def __call__(self, name: str) -> Tensor:
        tensor: Tensor = self._files[self._checkpoint.location[name]].get_tensor(name)
        return tensor


def split_rows(form: Form, rows: list[int]) -> Iterator[Form]:
    """The form of each of some weights that were one below the other."""
    start = 0
    for count in rows:
        yield _rows(form, slice(start, start + count))
        start += count


def _rows(form: Form, rows: slice) -> Form:
    match form:
        case Codes(codes, scale, zero, order):
            return Codes(codes[rows].contiguous(), scale[rows], zero[rows], order)
        case ScaledCodes(codes, scale):
            part = _rows(codes, rows)
            assert isinstance(part, Codes)
            return ScaledCodes(part, scale)
    raise AssertionError(form)


def _or(form: Form | None, weight: Tensor) -> Form | Tensor:
    return weight if form is None else form


def _write_config(source: Path, output: Path, made: _Making) -> None:
    """The config with what was done to its weights, and everything else that is not weights as it is."""
    config = json.loads((source / "config.json").read_bytes())
    config["quantization_config"] = made.format.settings(made.kept)
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix in COPIED and path.name not in NOT_COPIED:
            shutil.copyfile(path, output / path.name)
