"""What identifies a model folder in a session: hashes of its config and its weights. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.model.checkpoint import open_checkpoint

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """SHA-256, in hex, of config.json and of all weight files in order of their names."""

    config_sha256: str
    weights_sha256: str


def fingerprint(folder: Path) -> Fingerprint:
    """The fingerprint of a model folder; reads all of its weights once, a megabyte at a time."""
    return Fingerprint(sha256_files([folder / "config.json"]), sha256_files(open_checkpoint(folder).files))


def sha256_files(paths: Iterable[Path]) -> str:
    """SHA-256, in hex, of the files' bytes one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()
