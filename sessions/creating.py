"""Starts a session file, and turns a finished one into a single plain file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sessions import schema
from sessions.errors import RecorderError
from sessions.header import Header, write_header
from sessions.opening import open_read_only
from sessions.places import side_files


def create_session(path: Path, header: Header, tokenizer_json: bytes | None = None, force: bool = False) -> None:
    """Make an empty session at `path`; replace a file that exists only if `force`.

    Raises RecorderError when it exists or cannot be written. The log of a database in WAL mode lies beside it.
    """
    _make_room(path, force)
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")  # there is nothing to lose yet
            schema.create(connection)
            write_header(connection, header, tokenizer_json)
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise RecorderError(f"{path} cannot be written: {error}") from error


def copy_session(recording: Path, path: Path, force: bool = False) -> None:
    """Make a session at `path` that holds everything `recording` does, to go on in; that one stays as it is.

    Raises RecorderError when `path` exists or cannot be written, SessionError when the recording cannot be read.
    """
    _make_room(path, force)
    source = open_read_only(recording)
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as target:
            source.connection.backup(target)
            target.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error as error:
        raise RecorderError(f"{recording} cannot be copied to {path}: {error}") from error
    finally:
        source.close()


def _make_room(path: Path, force: bool) -> None:
    """See that there is no session at `path`, and that there can be one."""
    if path.exists() and not force:
        raise RecorderError(f"{path} exists: choose another name, or overwrite it with --force")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in (path, *side_files(path)):
            old.unlink(missing_ok=True)
    except OSError as error:
        raise RecorderError(f"{path} cannot be written: {error.strerror or error}") from error


def seal(connection: sqlite3.Connection) -> bool:
    """Move the log into the database and stop using one; False while someone else has the file open."""
    try:
        connection.execute("PRAGMA busy_timeout = 500")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        mode = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    except sqlite3.OperationalError:
        return False
    return bool(mode == ("delete",))


def seal_file(path: Path) -> bool:
    """The same for a session that nobody writes any more. Raises sqlite3.Error when it cannot be opened."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return seal(connection)
