"""SQL from a user: one SELECT on a connection of its own that can do nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from sessions.errors import SessionError
from sessions.functions import TextOf, add_functions
from sessions.opening import connect

_ALLOWED: Final = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)


@dataclass(frozen=True, slots=True)
class Table:
    """The answer to a query: names of the columns, and rows as they are asked for."""

    columns: tuple[str, ...]
    rows: Generator[tuple[Any, ...], None, None]


def run_query(uri: str, text_of: TextOf, sql: str) -> Table:
    """Run one SELECT. Raises SessionError for anything else, and for SQL that is wrong."""
    connection = connect(uri)
    add_functions(connection, text_of)
    connection.set_authorizer(_authorize)
    try:
        cursor = connection.execute(sql)
    except (sqlite3.Error, sqlite3.Warning) as error:
        connection.close()
        raise SessionError(f"the query cannot be answered: {error}") from error
    return Table(tuple(name for name, *_ in cursor.description or ()), _rows(connection, cursor))


def _authorize(action: int, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _rows(connection: sqlite3.Connection, cursor: sqlite3.Cursor) -> Generator[tuple[Any, ...], None, None]:
    with closing(connection):
        try:
            yield from cursor
        except sqlite3.Error as error:
            raise SessionError(f"the query cannot be answered: {error}") from error
