"""Packs a session into one portable file: all that replay needs except the weights."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import msgspec

from sessions.creating import seal_file
from sessions.errors import SessionError
from sessions.pack_format import (
    CHUNK_BYTES,
    MANIFEST,
    MAX_MODEL_FILE_BYTES,
    MAX_PACK_BYTES,
    MODEL,
    MODEL_FILES,
    SESSION,
    Manifest,
    PackedFile,
    PackError,
)
from sessions.reader import Session

EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest that a ZIP can say
LEVEL: Final = 6

Told = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True, slots=True)
class Packed:
    """A pack that was written, and in words what was left out of it."""

    manifest: Manifest
    left_out: Sequence[str]


def pack_session(path: Path, output: Path, model: Path | None = None, progress: Told | None = None) -> Packed:
    """Write the session at `path` and the small files of its model to `output`, replacing what is there.

    `model` is the model's folder, by default where the session says it was; files of another model are left
    out. A session that was not closed is packed as far as it is written. Raises SessionError, PackError, OSError.
    """
    with Session.open(path) as session:
        header = session.header
    folder = model if model is not None else Path(header.model_path)
    files, left_out = _model_files(folder, header.config_sha256, named=model is not None)
    with _closed(path) as closed:
        if closed != path:
            left_out.append(_later(closed))
        sources = [(SESSION, closed), *((MODEL + file.name, file) for file in files)]
        manifest = Manifest(
            name=path.stem, model_name=header.model_name, weights_sha256=header.weights_sha256,
            files=tuple(_described(name, source) for name, source in sources),
        )  # fmt: skip
        _write(output, manifest, [source for _, source in sources], progress or (lambda _done, _total: None))
    return Packed(manifest, left_out)


def _later(copy: Path) -> str:
    """What is not in the copy of a session that has a log, in words."""
    with Session.open(copy) as session:
        last = session.last_step(max(row.branch for row in session.branches))
    return f"what came after step {last}: the session was still being recorded, or was cut off"


def _model_files(folder: Path, config_sha256: str, *, named: bool) -> tuple[list[Path], list[str]]:
    """The files of the model that are there, and in words why there are none."""
    config = folder / MODEL_FILES[0]
    try:
        found = _described(config.name, config).sha256
    except OSError as error:
        if named:
            raise PackError(f"{config}: {error.strerror}: give the folder of the session's model") from error
        return [], [f"the model's files: {folder} is not there; --model says where it is"]
    if found != config_sha256:
        if named:
            raise PackError(f"{folder} is another model than the session was made with: its config.json differs")
        return [], [f"the model's files: {folder} holds another model now; --model says where the session's is"]
    present = [folder / name for name in MODEL_FILES if (folder / name).is_file()]
    large = [file for file in present if file.stat().st_size > MAX_MODEL_FILE_BYTES]
    said = [f"{file.name}: it is larger than {MAX_MODEL_FILE_BYTES:,} bytes" for file in large]
    return [file for file in present if file not in large], said


@contextmanager
def _closed(path: Path) -> Iterator[Path]:
    """The session as one plain file that nobody changes meanwhile: itself, or a copy where it has a log."""
    with Session.open(path) as session, closing(sqlite3.connect(session.uri, uri=True)) as connection:
        connection.execute("BEGIN")  # held: whoever wants to write a plain file waits
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        connection.execute("SELECT count(*) FROM header").fetchone()
        if mode == "delete":
            yield path
            return
        with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
            copy = Path(folder) / SESSION
            with closing(sqlite3.connect(copy)) as target:
                connection.backup(target)
            if not seal_file(copy):
                raise SessionError(f"{path} could not be copied to be packed")
            yield copy


def _described(name: str, file: Path) -> PackedFile:
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as opened:
        while part := opened.read(CHUNK_BYTES):
            digest.update(part)
            size += len(part)
    return PackedFile(name, size, digest.hexdigest())


def _write(output: Path, manifest: Manifest, sources: Sequence[Path], progress: Told) -> None:
    """Write beside `output` first, so that what lies there is whole or not there."""
    descriptor, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}-")
    partial = Path(name)
    try:
        with (
            os.fdopen(descriptor, "wb") as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, True, LEVEL) as zip_,
        ):
            with zip_.open(_member(MANIFEST), "w") as target:
                target.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
            total, done = sum(file.size_bytes for file in manifest.files), 0
            for packed, source in zip(manifest.files, sources, strict=True):
                with (
                    source.open("rb") as opened,
                    zip_.open(_member(packed.name, packed.size_bytes), "w") as target,
                ):
                    done = _copy(packed, opened, target, done, total, progress)
        if partial.stat().st_size > MAX_PACK_BYTES:
            raise PackError(
                f"{output} would have more than {MAX_PACK_BYTES:,} bytes: the session is too large to pack"
            )
        partial.chmod(0o644)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


def _copy(packed: PackedFile, source: IO[bytes], target: IO[bytes], done: int, total: int, told: Told) -> int:
    """Copy a file, which must still be the one that was described; how many bytes are done now."""
    digest = hashlib.sha256()
    while part := source.read(CHUNK_BYTES):
        digest.update(part)
        target.write(part)
        done += len(part)
        told(done, total)
    if digest.hexdigest() != packed.sha256:
        raise PackError(f"{packed.name} changed while it was packed: try again")
    return done


def _member(name: str, size_bytes: int = 0) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, EPOCH)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.create_system = 3  # Unix, wherever it was made
    member.external_attr = 0o644 << 16
    member.file_size = size_bytes  # decides whether the sizes need 64 bits
    return member
