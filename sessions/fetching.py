"""Questions to a session file, answered with rows or values."""

from __future__ import annotations

import sqlite3
from typing import Any

from sessions.errors import SessionError

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
