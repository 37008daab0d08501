"""Where what is measured is kept: named by hashes of all that it depends on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.model.fingerprint import Fingerprint, fingerprint, sha256_files
from engine.quantization_result import Measured
from plugins.quantization.calibration import SAMPLE
from plugins.quantization.options import Calibrated, Where
from sessions.quantization_kept import model_folder, read_measured, text_folder
from workbench.cli import VERSION


@dataclass(frozen=True, slots=True)
class Subject:
    """All methods are compared on this; two that are equal give equal results."""

    model: Fingerprint
    tokenizer: str
    text: str
    dtype: str
    window: int

    @classmethod
    def of(cls, folder: Path, text: bytes, dtype: str, window: int) -> Subject:
        """Reads all weights once, for their hash."""
        words = sha256_files(sorted(folder.glob("tokenizer*")))
        return cls(fingerprint(folder), words, hashlib.sha256(text).hexdigest(), dtype, window)

    @property
    def folder(self) -> Path:
        """The folder of all methods on it."""
        model = model_folder(self.model.config_sha256, self.model.weights_sha256)
        return text_folder(model, VERSION, self.tokenizer, self.text, self.dtype, str(self.window))

    def path(self, method: str, options: Where, each: bool) -> Path:
        """The file of a method."""
        calibration = None
        if isinstance(options, Calibrated):
            calibration = sha256_files([Path(options.text).expanduser() if options.text else SAMPLE])
        named = (method.partition("=")[0], options, calibration, each)
        return self.folder / f"{hashlib.sha256(msgspec.json.encode(named)).hexdigest()[:32]}.json"


def read_kept(path: Path, method: str) -> Measured | None:
    """What is kept there, under the name that it has now; None where there is nothing of use."""
    kept = read_measured(path)
    if kept is None:
        return None
    return msgspec.structs.replace(kept, method=msgspec.structs.replace(kept.method, method=method))
