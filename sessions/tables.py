"""What the parts of a reader share: questions to the file, answered with rows, values or records."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sessions.errors import SessionError

Record = TypeVar("Record", bound=msgspec.Struct)
FOREVER = 1 << 62
"""A step or position beyond all others."""


def fetch(connection: sqlite3.Connection, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows that answer a question. Raises SessionError where the file cannot give them."""
    try:
        return connection.execute(sql, values).fetchall()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        *_, file = connection.execute("PRAGMA database_list").fetchone()
        raise SessionError(f"{file} cannot be read: {error}") from error


def fetch_value(connection: sqlite3.Connection, sql: str, *values: object) -> Any:
    """The first column of the first row, None where there is no row."""
    rows = fetch(connection, sql, *values)
    return rows[0][0] if rows else None


class Tables:
    """An open session file. Every question raises SessionError where the file turns out to be damaged."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    def _rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return fetch(self._connection, sql, *values)

    def _value(self, sql: str, *values: object) -> Any:
        return fetch_value(self._connection, sql, *values)

    def _records(self, record: type[Record], sql: str, *values: object) -> list[Record]:
        return [record(*row) for row in self._rows(sql, *values)]
