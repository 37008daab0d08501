"""What was measured of quantized models, kept beside the user's sessions.

    quantization/<model>/<text>/text.json        what was predicted
    quantization/<model>/<text>/<method>.json    one method on it
    quantization/<model>/<text>/flips/*.wbs      runs up to a token that flipped, once somebody looked at one

A model is named by the hashes that a session has of it, so that every session of the model finds them.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from engine.quantization_result import Measured
from sessions.places import sessions_folder

TEXT = "text.json"
NAME_DIGITS = 32
Document = TypeVar("Document", bound=msgspec.Struct)


class MeasuredText(msgspec.Struct, frozen=True):
    """What all methods in a folder predicted: `ids` and the `words` that those are, in windows.

    Windows hold `window` tokens, the special ones `first` among them, and begin `stride` text tokens after each
    other. `model` is the folder that was measured.
    """

    model: str
    dtype: str
    name: str
    window: int
    stride: int
    first: tuple[int, ...]
    ids: tuple[int, ...]
    words: tuple[str, ...]

    def before(self, position: int) -> tuple[int, ...]:
        """The tokens that the model was given to predict the one at text position `position`."""
        held = self.window - len(self.first)
        number = max(0, -(-(position + 1 - held) // self.stride))
        return (*self.first, *self.ids[number * self.stride : position])


@dataclass(frozen=True, slots=True)
class Study:
    """A text, and all methods that were measured on it."""

    folder: Path
    text: MeasuredText
    methods: tuple[Measured, ...]

    def run_file(self, position: int, method: str = "") -> Path:
        """The session of a run up to `position`: by the model as it is, or by a method."""
        named = f"{position}-{_digest(method)[:12]}" if method else str(position)
        return self.folder / "flips" / f"{named}.wbs"


def kept_folder() -> Path:
    """The folder of what was measured; it may not exist yet."""
    return sessions_folder().with_name("quantization")


def model_folder(config_sha256: str, weights_sha256: str) -> Path:
    """Where what was measured of a model is kept."""
    return kept_folder() / _digest(f"{config_sha256}:{weights_sha256}")


def text_folder(model: Path, *of: str) -> Path:
    """Where methods are kept that were measured on one text, named by all that makes them comparable."""
    return model / _digest(msgspec.json.encode(of).decode())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:NAME_DIGITS]


def keep(path: Path, document: msgspec.Struct) -> None:
    """Write it, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(document))
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_measured(path: Path) -> Measured | None:
    """What is kept there; None where there is nothing of use."""
    return _read(path, Measured)


def read_studies(model: Path) -> list[Study]:
    """Everything that was measured of a model, what was measured last first. What is damaged is left out."""
    folders = [each for each in model.iterdir() if each.is_dir()] if model.is_dir() else []
    return [*_studies(sorted(folders, key=_newest, reverse=True))]


def stamp_of(model: Path) -> tuple[tuple[str, int], ...]:
    """Changes when something is kept of a model; cheap."""
    return tuple(sorted((str(path), path.stat().st_mtime_ns) for path in model.glob("*/*.json")))


def _studies(folders: list[Path]) -> Iterator[Study]:
    for folder in folders:
        text = _read(folder / TEXT, MeasuredText)
        found = [read_measured(path) for path in _methods(folder)]
        methods = sorted((each for each in found if each is not None), key=_order)
        if text is not None and methods:
            yield Study(folder, text, tuple(_richest(methods)))


def _methods(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.json")) if path.name != TEXT]


def _newest(folder: Path) -> int:
    return max((path.stat().st_mtime_ns for path in _methods(folder)), default=0)


def _order(measured: Measured) -> tuple[float, float, str, bool]:
    """Most bits first; of a method that was measured twice, the one with each layer tried is the last."""
    method = measured.method
    tried = any(layer.alone is not None for layer in method.layers)
    return -method.bits_per_weight, method.kl_mean, method.method, tried


def _richest(methods: list[Measured]) -> Iterator[Measured]:
    by_name = {each.method.method: each for each in methods}
    yield from by_name.values()


def _read(path: Path, kind: type[Document]) -> Document | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None
