"""What a new branch takes over from the one it continues: the rows of every request that lives on in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.timeline import Past
from sessions.fetching import fetch
from sessions.header import Header
from sessions.lineage import Lineage, lineage_of
from sessions.past import live_rows, read_past
from sessions.records import Phase, RequestRow, decode_batch
from sessions.rows import Row


@dataclass(frozen=True, slots=True)
class Before:
    """How things stood where a branch parts, and the rows of the requests that live on, as they were before.

    `tokens` and `prompts` are rows without their branch.
    """

    past: Past
    branches: tuple[int, ...]
    requests: Sequence[RequestRow]
    phases: Sequence[Phase]
    prompts: Sequence[Row]
    tokens: Sequence[Row]
    outputs: Mapping[str, Sequence[int]]


def read_before(connection: sqlite3.Connection, header: Header, parent: int, step: int) -> Before:
    """What a branch that parts after `step` of `parent` takes over. Raises SessionError."""
    past = read_past(connection, header, parent, step)
    lineage = lineage_of(connection, parent)
    rows = live_rows(connection, lineage, past.state)
    live = past.state.requests
    return Before(
        past,
        tuple(part.branch for part in lineage.between(0, step)),
        rows,
        [Phase(*found) for row in rows for found in _of_request(connection, "phases", row)],
        [found[1:] for row in rows for found in _of_request(connection, "prompts", row)],
        [
            found
            for row in rows
            for found in _tokens(connection, lineage, row, step, live[row.request].num_tokens)
        ],
        {row.request: past.tokens.tokens_of(row.request)[row.prompt_tokens :] for row in rows},
    )


def _of_request(connection: sqlite3.Connection, table: str, row: RequestRow) -> Sequence[Row]:
    order = {"phases": "number", "tokens": "position", "prompts": "request"}[table]
    question = f"SELECT * FROM {table} WHERE branch = ? AND request = ? ORDER BY {order}"
    return fetch(connection, question, row.branch, row.request)


def _tokens(
    connection: sqlite3.Connection, lineage: Lineage, row: RequestRow, step: int, stop: int
) -> Iterator[Row]:
    """The rows of `tokens` of a request before position `stop`, without their branch, as they were at `step`."""
    rows = [found[1:] for found in _of_request(connection, "tokens", row) if found[2] < stop]
    later = {position for _, position, _, _, _, computed, *_ in rows if (computed or 0) > step}
    first_step = min((found[4] for found in rows if found[1] in later), default=step)
    written = _written(connection, lineage, row.request, later, first_step, step)
    for found in rows:
        computed = written.get(found[1]) if found[1] in later else found[5]
        yield (*found[:5], computed, *found[6:])


def _written(
    connection: sqlite3.Connection, lineage: Lineage, request: str, positions: set[int], first: int, last: int
) -> dict[int, int]:
    """For `positions` of a request the latest of the steps `first` to `last` that wrote their KV."""
    question = "SELECT step, batch FROM steps WHERE branch = ? AND step BETWEEN ? AND ? AND instr(batch, ?)"
    found: dict[int, int] = {}
    for part in reversed(list(lineage.between(first, last))):
        for step, batch in fetch(connection, f"{question} ORDER BY step DESC", *part, f'["{request}"'):
            if len(found) == len(positions):
                return found
            for work in decode_batch(batch):
                if work.request == request:
                    found |= {p: step for p in positions if work.start <= p < work.stop and p not in found}
    return found
