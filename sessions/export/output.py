"""Where an export goes: a file that appears whole or not at all, compressed where its name says so."""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias, cast

from sessions.errors import SessionError
from sessions.reader import Session

Progress: TypeAlias = Callable[[int, int], None]  # done, of how many
Write: TypeAlias = Callable[[Session, BinaryIO, Progress], None]

STDOUT: Final = Path("-")
_MODE: Final = 0o666


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
    mask = os.umask(0)
    os.umask(mask)
    os.fchmod(handle, _MODE & ~mask)
    os.close(handle)
    return Path(name)
