"""Opens a session file for reading, wherever it lies and whoever is still writing it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sessions import schema
from sessions.errors import SessionError

_MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100
_WAL_MODE: Final = 2


@dataclass(frozen=True, slots=True)
class ReadOnly:
    """An open session; `copy` is the temporary folder to keep while it is read from there."""

    connection: sqlite3.Connection
    uri: str
    copy: tempfile.TemporaryDirectory[str] | None

    def close(self) -> None:
        self.connection.close()
        if self.copy is not None:
            self.copy.cleanup()


def open_read_only(path: Path) -> ReadOnly:
    """Connect to the session at `path`. Raises SessionError when it is not one that can be read.

    In a folder that cannot be written SQLite cannot share the log: a session with one is copied first.
    """
    in_wal_mode = _check_file(path)
    copy = None
    option = ""
    if in_wal_mode and not os.access(path.parent, os.W_OK):
        if _has_log(path):
            copy = tempfile.TemporaryDirectory(prefix="workbench-")
            path = _copy(path, Path(copy.name))
        else:
            option = "&immutable=1"
    uri = f"{path.absolute().as_uri()}?mode=ro{option}"
    opened = ReadOnly(connect(uri), uri, copy)
    try:
        _check_version(path, opened.connection)
    except BaseException:
        opened.close()
        raise
    return opened


def connect(uri: str) -> sqlite3.Connection:
    """A read-only connection that trusts nothing in the file's schema and holds no transaction."""
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA busy_timeout = 2000")
    return connection


def _check_file(path: Path) -> bool:
    """Look at the file's own header; whether the file is in WAL mode."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        size = path.stat().st_size
    except FileNotFoundError:
        raise SessionError(f"{path} does not exist") from None
    except OSError as error:
        raise SessionError(f"{path} cannot be read: {error.strerror}") from error
    if header[:16] != _MAGIC[: len(header[:16])] or not header:
        raise SessionError(f"{path} is not a session: it is {'empty' if not header else 'no SQLite file'}")
    if len(header) < _HEADER_BYTES:
        raise SessionError(f"{path} is truncated: it has only {size} bytes")
    page_bytes = int.from_bytes(header[16:18], "big")
    expected = (65536 if page_bytes == 1 else page_bytes) * int.from_bytes(header[28:32], "big")
    if size < expected and not _has_log(path):
        raise SessionError(f"{path} is truncated: it has {size} of {expected} bytes")
    return header[19] == _WAL_MODE


def _check_version(path: Path, connection: sqlite3.Connection) -> None:
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise SessionError(f"{path} is damaged: {error}") from error
    if application != schema.APPLICATION_ID:
        raise SessionError(f"{path} is not a session: it is an SQLite file of something else")
    if version > schema.SCHEMA_VERSION:
        raise SessionError(
            f"{path} was made by a newer version (schema {version}; this one reads up to {schema.SCHEMA_VERSION})"
        )
    if missing := schema.TABLES - tables:
        raise SessionError(f"{path} is incomplete: it has no table {', '.join(sorted(missing))}")


def _has_log(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def _copy(path: Path, folder: Path) -> Path:
    for name in (path.name, path.name + "-wal"):
        shutil.copyfile(path.with_name(name), folder / name)
    return folder / path.name
