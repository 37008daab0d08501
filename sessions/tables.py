"""What the parts of a reader share: questions to the file, answered with rows, values or records."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sessions.fetching import FOREVER, fetch, fetch_value
from sessions.lineage import Lineage, lineage_of

__all__ = ["FOREVER", "Tables", "fetch", "fetch_value"]

Record = TypeVar("Record", bound=msgspec.Struct)


class Tables:
    """An open session file. Every question raises SessionError where the file turns out to be damaged."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lineages: dict[int, Lineage] = {}

    def lineage(self, branch: int) -> Lineage:
        """The history of `branch`. Raises SessionError where there is no such branch."""
        if branch not in self._lineages:
            self._lineages[branch] = lineage_of(self._connection, branch)
        return self._lineages[branch]

    def _rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return fetch(self._connection, sql, *values)

    def _value(self, sql: str, *values: object) -> Any:
        return fetch_value(self._connection, sql, *values)

    def _records(self, record: type[Record], sql: str, *values: object) -> list[Record]:
        return [record(*row) for row in self._rows(sql, *values)]
