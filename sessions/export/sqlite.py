"""One SQLite file of plain tables: nothing packed, no functions or views of ours needed.

The tables of the session that are plain, `candidates` (what the session packs into one row a step),
`prompt_tokens`, and `export`: the header, and what part of the session this is, as names and JSON values.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from sessions.export.excerpt import Excerpt
from sessions.export.output import Progress
from sessions.export.plain import Relation, Row, all_relations, leave_out_packed

INDEXES: Final = {
    "events": "step", "steps": "step", "tokens": "request, position", "decisions": "step", "blocks": "block, seq",
    "candidates": "request, position", "prompt_tokens": "request, position",
}  # fmt: skip
_ROWS: Final = 5_000


def write(excerpt: Excerpt, stream: BinaryIO, progress: Progress) -> None:
    """Write the database to a temporary file, then to the stream."""
    leave_out_packed(excerpt)
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        path = Path(folder) / "export.sqlite"
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            _fill(connection, excerpt, progress)
        with path.open("rb") as made:
            shutil.copyfileobj(made, stream)


def _fill(connection: sqlite3.Connection, excerpt: Excerpt, progress: Progress) -> None:
    relations = all_relations(excerpt)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    for done, relation in enumerate(relations):
        _add(connection, relation)
        progress(done + 1, len(relations))
    _add_about(connection, excerpt)
    connection.execute("COMMIT")


def _add(connection: sqlite3.Connection, relation: Relation) -> None:
    columns = ", ".join(f"{column.name} {column.kind}" for column in relation.columns)
    connection.execute(f"CREATE TABLE {relation.name} ({columns})")
    places = ", ".join("?" * len(relation.columns))
    for chunk in chunks(relation.rows()):
        connection.executemany(f"INSERT INTO {relation.name} VALUES ({places})", chunk)
    if relation.name in INDEXES:
        connection.execute(f"CREATE INDEX of_{relation.name} ON {relation.name} ({INDEXES[relation.name]})")


def _add_about(connection: sqlite3.Connection, excerpt: Excerpt) -> None:
    connection.execute("CREATE TABLE export (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
    values = msgspec.to_builtins(excerpt.session.header) | {"excerpt": excerpt.about}
    rows = [(name, msgspec.json.encode(value).decode()) for name, value in values.items()]
    connection.executemany("INSERT INTO export VALUES (?, ?)", rows)


def chunks(rows: Iterator[Row], size: int = _ROWS) -> Iterator[Sequence[Row]]:
    """`rows` in lists of at most `size`."""
    while chunk := list(islice(rows, size)):
        yield chunk
