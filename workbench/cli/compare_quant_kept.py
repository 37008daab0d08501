"""What was measured, kept beside the user's sessions: one JSON file for each method on a model and a text."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.model.fingerprint import fingerprint, sha256_files
from engine.quantization_result import Measured
from plugins.quantization.calibration import SAMPLE
from plugins.quantization.options import Calibrated, Where
from sessions.places import sessions_folder
from workbench.cli import VERSION


@dataclass(frozen=True, slots=True)
class Subject:
    """All methods are compared on this; two that are equal give equal results."""

    model: str
    text: str
    dtype: str
    window: int

    @classmethod
    def of(cls, folder: Path, text: bytes, dtype: str, window: int) -> Subject:
        """Reads all weights once, for their hash."""
        marks = fingerprint(folder)
        words = sorted(folder.glob("tokenizer*"))
        model = ":".join((marks.config_sha256, marks.weights_sha256, sha256_files(words)))
        return cls(model, hashlib.sha256(text).hexdigest(), dtype, window)


def kept_folder() -> Path:
    """The folder of what was measured; it may not exist yet."""
    return sessions_folder().with_name("quantization")


def kept_path(subject: Subject, method: str, options: Where, each: bool) -> Path:
    """Where the measure of a method is kept: its name is a hash of all that it depends on."""
    calibration = None
    if isinstance(options, Calibrated):
        calibration = sha256_files([Path(options.text).expanduser() if options.text else SAMPLE])
    named = (VERSION, subject, method.partition("=")[0], options, calibration, each)
    return kept_folder() / f"{hashlib.sha256(msgspec.json.encode(named)).hexdigest()[:32]}.json"


def read_kept(path: Path, method: str) -> Measured | None:
    """What is kept there, under the name that it has now; None where there is nothing of use."""
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=Measured)
    except (OSError, msgspec.DecodeError):
        return None
    return msgspec.structs.replace(kept, method=msgspec.structs.replace(kept.method, method=method))


def keep(path: Path, measured: Measured) -> None:
    """Write it, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(measured))
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
