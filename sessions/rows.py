"""Rows on their way to the file: built away from the database, so that a failed write can be tried again."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from sessions.records import BlockChange, Phase, RequestRow, StepRow, TokenRow

Row = tuple[Any, ...]


def _insert(table: str, record: type[msgspec.Struct], verb: str = "INSERT") -> str:
    return f"{verb} INTO {table} VALUES ({', '.join('?' * len(record.__struct_fields__))})"


_COPIED_TOKENS: Final = ", ".join(TokenRow.__struct_fields__[2:])

STATEMENTS: Final = {
    "branches": "INSERT INTO branches VALUES (?, ?, ?, ?)",
    "events": "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)",
    "steps": _insert("steps", StepRow),
    "notable": "UPDATE steps SET notable = notable | ? WHERE branch = ? AND step = ?",
    "prompts": "INSERT INTO prompts VALUES (?, ?, ?, ?)",
    "requests": _insert("requests", RequestRow, "REPLACE"),
    "progress": "UPDATE requests SET output_tokens = ? WHERE branch = ? AND request = ?",
    "phases": _insert("phases", Phase, "REPLACE"),
    "tokens": _insert("tokens", TokenRow),
    "inherited": (
        f"INSERT INTO tokens SELECT ?, ?, {_COPIED_TOKENS} FROM tokens"
        " WHERE request = ? AND position < ? AND branch ="
        " (SELECT max(branch) FROM requests WHERE request = ? AND branch IN (SELECT value FROM json_each(?)))"
    ),
    "computed": (
        "UPDATE tokens SET computed_step = ? WHERE branch = ? AND request = ? AND position >= ? AND position < ?"
    ),
    "candidate_rows": "INSERT INTO candidate_rows VALUES (?, ?, ?)",
    "decisions": "INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?)",
    "blocks": _insert("blocks", BlockChange),
    "tensors": "INSERT INTO tensors VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "pages": "INSERT INTO pages VALUES (?, ?, ?)",
    "keyframes": "INSERT INTO keyframes VALUES (?, ?, ?, ?)",
}
"""How each kind of row is written, in the order in which kinds are written."""


class Rows:
    """Rows by kind, in the order they came."""

    def __init__(self) -> None:
        self._rows: defaultdict[str, list[Row]] = defaultdict(list)

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, kind: str, row: Row) -> None:
        self._rows[kind].append(row)

    def add_all(self, kind: str, rows: Iterable[Row]) -> None:
        self._rows[kind].extend(rows)

    def write(self, connection: sqlite3.Connection) -> None:
        """Write all rows in one transaction, or none of them. Raises sqlite3.Error."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            for kind, statement in STATEMENTS.items():
                if rows := self._rows.get(kind):
                    connection.executemany(statement, rows)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def clear(self) -> None:
        self._rows.clear()
