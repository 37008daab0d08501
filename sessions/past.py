"""How things stood at an earlier step, with the tokens of every request: what going back there needs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from engine import events as ev
from engine.drop_log import KINDS
from engine.state import State
from engine.timeline import Past
from engine.tokens import Asked, TokenLog
from sessions.fetching import fetch
from sessions.header import Header
from sessions.lineage import Lineage, Segment, lineage_of
from sessions.records import RequestRow, unpack_ids
from sessions.seek import Seeker


def read_past(connection: sqlite3.Connection, header: Header, branch: int, step: int) -> Past:
    """The end of `step` on the way to `branch`, with what was said before the next step began.

    Raises SessionError where there is no such branch, or the file is damaged.
    """
    state = Seeker(connection, header).fresh_state_at(branch, step)
    state.roll_back()
    lineage = lineage_of(connection, branch)
    log = TokenLog()
    for part in reversed(list(lineage.between(0, step))):
        for row in _requests(connection, part):
            if row.request not in log:
                _add(connection, log, row, state, part.branch)
    if header.kv_policy:
        add_drops(connection, log, lineage.between(0, step))
    return Past(state, log)


def add_drops(connection: sqlite3.Connection, log: TokenLog, parts: Iterable[Segment]) -> None:
    """Tell `log` which rows went without which blocks, as the events of `parts` say, first to last."""
    kinds = [kind.__struct_config__.tag for kind in KINDS]
    places = ", ".join("?" for _ in kinds)
    question = (
        f"SELECT data FROM events WHERE branch = ? AND step BETWEEN ? AND ? AND type IN ({places}) ORDER BY seq"
    )
    for part in parts:
        for (data,) in fetch(connection, question, part.branch, part.first_step, part.last_step, *kinds):
            log.drops.apply(ev.decode(data))


def live_rows(connection: sqlite3.Connection, lineage: Lineage, state: State) -> list[RequestRow]:
    """The rows of the requests that live in `state`, each from the latest branch of `lineage` that has one."""
    found: dict[str, RequestRow] = {}
    for part in lineage.backwards():
        for row in _requests(connection, part):
            if row.request in state.requests:
                found.setdefault(row.request, row)
    return list(found.values())


def _requests(connection: sqlite3.Connection, part: Segment) -> list[RequestRow]:
    question = "SELECT * FROM requests WHERE branch = ? AND submitted_step <= ? ORDER BY arrival"
    return [RequestRow(*row) for row in fetch(connection, question, part.branch, part.last_step)]


def _add(connection: sqlite3.Connection, log: TokenLog, row: RequestRow, state: State, branch: int) -> None:
    """Add the tokens that a request had: all of them when it was over, else as many as `state` says."""
    ids = unpack_ids(
        fetch(connection, "SELECT ids FROM prompts WHERE branch = ? AND request = ?", branch, row.request)[0][0]
    )
    live = state.requests.get(row.request)
    most = len(ids) + row.output_tokens if live is None else live.num_tokens
    ids.extend(output_ids(connection, branch, row.request, most))
    change = row.forked
    intervened = None if change is None else change.intervened
    asked = Asked(row.prompt_tokens, row.sampling, row.sample, row.priority, intervened)
    log.add(row.request, ids, asked)


def output_ids(connection: sqlite3.Connection, branch: int, request: str, stop: int) -> Sequence[int]:
    """The generated tokens of a request at positions before `stop`."""
    rows = fetch(
        connection,
        "SELECT token FROM tokens WHERE branch = ? AND request = ? AND position < ? ORDER BY position",
        branch, request, stop,
    )  # fmt: skip
    return [token for (token,) in rows]
