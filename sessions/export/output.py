"""Where an export goes: a file that appears whole or not at all, compressed where its name says so."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias, cast

from sessions.errors import SessionError

Progress: TypeAlias = Callable[[int, int], None]  # done, of how many

STDOUT: Final = Path("-")
_MODE: Final = 0o666
_FOLDER_MODE: Final = 0o777


def no_progress(_done: int, _total: int) -> None:
    """Nobody wants to know."""


@contextmanager
def open_output(path: Path, force: bool) -> Iterator[BinaryIO]:
    """A stream that becomes `path` when it is closed without an error; gzip for a name in `.gz`.

    Raises SessionError when `path` exists and not `force`, or cannot be written.
    """
    if path == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if path.exists() and not force:
        raise SessionError(f"{path} exists: choose another name, or overwrite it with --force")
    part = _part_of(path)
    try:
        with part.open("wb") as file, _packed(file, path) as stream:
            yield stream
        part.replace(path)
    except OSError as error:
        raise SessionError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def open_folder(path: Path, force: bool, suffix: str) -> Iterator[Path]:
    """A folder that becomes `path` when nothing went wrong.

    Raises SessionError when `path` exists and not `force`, or is anything but a folder of such files.
    """
    if path == STDOUT:
        raise SessionError(f"a folder of {suffix} files cannot go to standard output: name a folder or a .zip")
    if path.exists():
        _check_replaceable(path, force, suffix)
    try:
        part = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise SessionError(f"{path} cannot be written: {error.strerror}") from error
    try:
        yield part
        part.chmod(_FOLDER_MODE & ~_umask())
        if path.exists():
            shutil.rmtree(path)
        part.replace(path)
    except OSError as error:
        raise SessionError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_replaceable(path: Path, force: bool, suffix: str) -> None:
    if not force:
        raise SessionError(f"{path} exists: choose another name, or overwrite it with --force")
    if not path.is_dir() or any(not each.name.endswith(suffix) for each in path.iterdir()):
        raise SessionError(f"{path} holds other things than {suffix} files: choose another name")


@contextmanager
def _packed(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    if path.suffix != ".gz":
        yield file
        return
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed:
        yield cast(BinaryIO, packed)


def _part_of(path: Path) -> Path:
    """A new empty file beside `path`, with the permissions a new file has."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        raise SessionError(f"{path} cannot be written: {error.strerror}") from error
    os.fchmod(handle, _MODE & ~_umask())
    os.close(handle)
    return Path(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
