"""Takes a pack: nothing in it is believed before it is checked."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import msgspec

from sessions.errors import SessionError
from sessions.pack_format import (
    CHUNK_BYTES,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    MEMBERS,
    MODEL,
    MODEL_FILES,
    SESSION,
    Manifest,
    PackedFile,
    PackError,
    size_limit,
)
from sessions.places import SUFFIX, model_files_of, side_files
from sessions.reader import Session

MAX_DIRECTORY_BYTES: Final = 1 << 16
MAX_RATIO: Final = 400
"""No member may grow more than so many times: sessions are packed to a third or a tenth."""
_END: Final = struct.Struct("<4s4H2LH")
_END_64: Final = struct.Struct("<4sLQL")
_NAME: Final = re.compile(r"\w[\w.+-]{0,150}")
_DAMAGE: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error, UnicodeDecodeError)

Told = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True, slots=True)
class Imported:
    """A session that was taken, and the folder of its model's files, None where the pack has none."""

    session: Path
    model_files: Path | None
    manifest: Manifest


def import_pack(
    pack: Path, folder: Path, name: str | None = None, *, force: bool = False, progress: Told | None = None
) -> Imported:
    """Unpack `pack` into `folder` as the session `name`, by default what it was called.

    Raises PackError when it is not a whole pack, or when there is a session of that name and not `force`.
    """
    try:
        with pack.open("rb") as file:
            _check_directory(pack, file)
            with zipfile.ZipFile(file) as zip_:
                manifest = _manifest(pack, zip_)
                target = _target(folder, manifest.name if name is None else name, force)
                return _take(pack, zip_, manifest, target, progress or (lambda _done, _total: None))
    except _DAMAGE as error:
        raise PackError(f"{pack} is damaged or no pack: {error}") from error


def _check_directory(pack: Path, file: IO[bytes]) -> None:
    """Refuse a directory that is larger than that of any pack, before it is read."""
    end = os.fstat(file.fileno()).st_size - _END.size
    if end < 0:
        raise PackError(f"{pack} is no pack: it has only {end + _END.size} bytes")
    file.seek(end)
    mark, *_, entries, size, _offset, comment = _END.unpack(file.read(_END.size))
    if mark != b"PK\5\6" or comment:
        raise PackError(f"{pack} is no pack, or it is truncated: there is no directory at its end")
    locator = b""
    if end >= _END_64.size:
        file.seek(end - _END_64.size)
        locator = file.read(4)
    if locator == b"PK\6\7":
        raise PackError(f"{pack} is larger than packs can be")
    if entries > len(MEMBERS) + 1 or size > MAX_DIRECTORY_BYTES:
        raise PackError(f"{pack} is no pack: it has {entries} members")
    file.seek(0)


def _manifest(pack: Path, zip_: zipfile.ZipFile) -> Manifest:
    """The manifest, which says of every member what the directory says of it."""
    members = {info.filename: info for info in zip_.infolist()}
    if len(members) != len(zip_.infolist()):
        raise PackError(f"{pack} is no pack: two of its members have one name")
    for name, info in members.items():
        if name not in (MANIFEST, *MEMBERS):
            raise PackError(f"{pack} is no pack: it has a member {name!r}")
        if info.flag_bits & 1 or info.compress_type != zipfile.ZIP_DEFLATED:
            raise PackError(f"{pack} is no pack: {name} is not deflated")
    if MANIFEST not in members or members[MANIFEST].file_size > MAX_MANIFEST_BYTES:
        raise PackError(f"{pack} is no pack: it has no manifest, or one that is too large")
    with zip_.open(MANIFEST) as file:
        text = file.read(MAX_MANIFEST_BYTES)
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.DecodeError as error:
        raise PackError(f"{pack} has a manifest that this version cannot read: {error}") from error
    _check_members(pack, manifest, members)
    return manifest


def _check_members(pack: Path, manifest: Manifest, members: dict[str, zipfile.ZipInfo]) -> None:
    names = [file.name for file in manifest.files]
    if SESSION not in names or sorted([MANIFEST, *names]) != sorted(members):
        raise PackError(f"{pack} is damaged: its manifest does not list what is in it")
    for file in manifest.files:
        info = members[file.name]
        if file.size_bytes != info.file_size or file.size_bytes > size_limit(file.name):
            raise PackError(f"{pack} is damaged: {file.name} says it has {info.file_size:,} bytes")
        if file.size_bytes > MAX_RATIO * max(info.compress_size, 1 << 10):
            raise PackError(
                f"{pack} is refused: {file.name} says that {info.compress_size:,} bytes become"
                f" {file.size_bytes:,}, which no session does"
            )


def _target(folder: Path, name: str, force: bool) -> Path:
    """The file that a session called `name` gets."""
    stem = name.removesuffix(SUFFIX)
    if not _NAME.fullmatch(stem):
        raise PackError(f"{name!r} cannot be the name of a session: use letters, digits, - and _ (--name)")
    target = folder / f"{stem}{SUFFIX}"
    if not force and (target.exists() or model_files_of(target).exists()):
        raise PackError(f"{target} exists: choose another --name, or overwrite it with --force")
    return target


def _take(pack: Path, zip_: zipfile.ZipFile, manifest: Manifest, target: Path, told: Told) -> Imported:
    """Unpack beside `target`, check, and move everything there at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    need, free = sum(file.size_bytes for file in manifest.files), shutil.disk_usage(target.parent).free
    if need > free:
        raise PackError(f"{pack} needs {need:,} bytes in {target.parent}: {free:,} are free")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".import-") as name:
        room, done = Path(name), 0
        (room / MODEL).mkdir()
        for file in manifest.files:
            done = _unpack(pack, zip_, file, room / file.name, done, lambda bytes_: told(bytes_, need))
        _check_session(pack, room, manifest)
        return _place(room, target, manifest)


def _unpack(
    pack: Path, zip_: zipfile.ZipFile, file: PackedFile, target: Path, done: int, told: Callable[[int], None]
) -> int:
    """Unpack one member, no more of it than it says; how many bytes are done now."""
    digest, left = hashlib.sha256(), file.size_bytes
    with zip_.open(file.name) as source, target.open("xb") as written:
        while part := source.read(min(CHUNK_BYTES, left + 1)):
            left -= len(part)
            if left < 0:
                break
            digest.update(part)
            written.write(part)
            told(done + file.size_bytes - left)
    if left != 0 or digest.hexdigest() != file.sha256:
        raise PackError(f"{pack} is damaged: {file.name} is not what the manifest says")
    return done + file.size_bytes


def _check_session(pack: Path, room: Path, manifest: Manifest) -> None:
    """What is called a session is one, and the model's files are those of its model."""
    try:
        with Session.open(room / SESSION) as session:
            header = session.header
    except SessionError as error:
        raise PackError(f"{pack} holds no session that can be read: {error}") from error
    config = next((file for file in manifest.files if file.name == MODEL + MODEL_FILES[0]), None)
    if config is not None and config.sha256 != header.config_sha256:
        raise PackError(f"{pack} holds the files of another model than its session was made with")


def _place(room: Path, target: Path, manifest: Manifest) -> Imported:
    model = model_files_of(target)
    for old in (target, *side_files(target)):
        old.unlink(missing_ok=True)
    remove_model_files(target)
    has_model = any(file.name != SESSION for file in manifest.files)
    if has_model:
        (room / MODEL).rename(model)
    (room / SESSION).rename(target)
    return Imported(target, model if has_model else None, manifest)


def remove_model_files(session: Path) -> None:
    """Delete what was imported beside `session`, and the folder unless somebody keeps something in it."""
    folder = model_files_of(session)
    for name in MODEL_FILES:
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
