"""Takes the text out of a copy of a session, table by table."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from engine import events as ev
from engine.details import DetailsError, TokenDetails, pack_step, unpack_step
from sessions.decisions import decision_row
from sessions.errors import SessionError
from sessions.header import Header, read_header
from sessions.records import pack_ids, unpack_ids
from sessions.redaction.events import EventRedactor
from sessions.redaction.hiding import MARK, hide, marks
from sessions.vocabulary import REDACTED, vocabulary_of

REDACTED_NAME: Final = "redacted"
_ROWS: Final = 2_000
_EMPTIED: Final = ("keyframes", "pages", "attachments")  # states are folded from the events again
_STAGES: Final = ("attn_pattern",)
"""Captured stages that say nothing about which tokens: logits and residuals can be turned into text again."""

_KNOWN: Final[dict[str, frozenset[str]]] = {
    "branches": frozenset({"branch", "parent", "parent_step"}),
    "steps": frozenset({
        "branch", "step", "first_seq", "last_seq", "started_ns", "plan_ns", "forward_ns", "sample_ns",
        "commit_ns", "tokens", "prefill_tokens", "decode_tokens", "budget", "running", "waiting", "preempted",
        "free_blocks", "cached_blocks", "owned_blocks", "submitted", "finished", "looked_up_tokens",
        "hit_tokens", "evicted_blocks", "preemptions", "computed_tokens", "output_tokens", "notable", "batch",
    }),
    "requests": frozenset({
        "branch", "request", "arrival", "priority", "sample", "samples", "leader", "params", "prompt_tokens",
        "output_tokens", "cached_tokens", "preemptions", "state", "submitted_step", "admitted_step",
        "first_token_step", "finished_step", "finish_reason", "finish_detail", "parent", "at_position", "change",
    }),
    "prompts": frozenset({"branch", "request", "ids"}),
    "phases": frozenset({
        "branch", "request", "number", "phase", "first_step", "last_step", "tokens", "cached_tokens",
    }),
    "tokens": frozenset({
        "branch", "request", "position", "token", "chosen_step", "computed_step", "raw_logprob", "logprob",
        "rank", "entropy", "varentropy", "draw", "low", "high", "margin", "near_tie",
    }),
    "decisions": frozenset({"seq", "branch", "step", "request", "type", "code", "numbers"}),
    "blocks": frozenset({
        "branch", "block", "seq", "step", "change", "request", "block_index", "ref_count", "state",
    }),
    "events": frozenset({"seq", "branch", "step", "type", "request", "data"}),
    "candidate_rows": frozenset({"branch", "step", "data"}),
    "tensors": frozenset({
        "id", "branch", "step", "request", "layer", "stage", "start", "dtype", "shape", "data",
    }),
    "header": frozenset({"name", "value"}),
}  # fmt: skip
"""Columns that are harmless, or that are rewritten below. Any other is hidden."""

Row = tuple[Any, ...]


def redact(path: Path) -> None:
    """Rewrite the session at `path`, which nobody else uses. Raises SessionError where it cannot be read.

    What was there is read from before the one transaction that replaces it.
    """
    with closing(_connect(path)) as before, closing(_connect(path)) as connection:
        text = cache(vocabulary_of(before).token_text)
        events = EventRedactor(lambda token: len(text(token)))
        try:
            _drop_code(connection)
            connection.execute("BEGIN IMMEDIATE")
            for rewrite in (
                _rewrite_events, _rewrite_tokens, _rewrite_prompts, _rewrite_candidates, _rewrite_requests,
            ):  # fmt: skip
                rewrite(before, connection, events)
            _rewrite_header(connection)
            _hide_other_columns(connection)
            _empty(connection)
            connection.execute("COMMIT")
        except (DetailsError, LookupError, msgspec.MsgspecError, sqlite3.Error, TypeError) as error:
            raise SessionError(f"the session cannot be redacted: {error}") from error
    _forget_old_pages(path)


def _drop_code(connection: sqlite3.Connection) -> None:
    """A session of ours has neither triggers nor views; one from elsewhere might act on what is rewritten."""
    code = "SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view')"
    for kind, name in connection.execute(code).fetchall():
        quoted = name.replace('"', '""')
        connection.execute(f'DROP {kind} "{quoted}"')


def _forget_old_pages(path: Path) -> None:
    """Leave one file in which no page holds what was there before."""
    with closing(_connect(path)) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode = DELETE")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def _rewrite_events(before: sqlite3.Connection, after: sqlite3.Connection, events: EventRedactor) -> None:
    """Events, and the decisions that are made of them."""
    lines = before.execute("SELECT data, seq FROM events ORDER BY seq")
    redacted = ((events.redact(line), seq) for line, seq in lines)
    for chunk in _chunks(redacted):
        after.executemany("UPDATE events SET data = ? WHERE seq = ?", chunk)
        decided = (decision_row(seq, ev.decode(line)) for line, seq in chunk)
        numbers = [(row[-1], row[0]) for row in decided if row is not None]
        after.executemany("UPDATE decisions SET numbers = ? WHERE seq = ?", numbers)


def _rewrite_tokens(before: sqlite3.Connection, after: sqlite3.Connection, events: EventRedactor) -> None:
    tokens = before.execute("SELECT token, text, branch, request, position FROM tokens")
    rows = (
        (events.token(branch, request, position, token), marks(text), branch, request, position)
        for token, text, branch, request, position in tokens
    )
    for chunk in _chunks(rows):
        after.executemany(
            "UPDATE tokens SET token = ?, text = ? WHERE branch = ? AND request = ? AND position = ?", chunk
        )


def _rewrite_prompts(before: sqlite3.Connection, after: sqlite3.Connection, events: EventRedactor) -> None:
    prompts = before.execute("SELECT branch, request, ids FROM prompts")
    for chunk in _chunks((_prompt(events, *row), row[0], row[1]) for row in prompts):
        after.executemany("UPDATE prompts SET ids = ? WHERE branch = ? AND request = ?", chunk)


def _prompt(events: EventRedactor, branch: int, request: str, data: bytes) -> bytes:
    ids = unpack_ids(data)
    return pack_ids(tuple(events.token(branch, request, at, token) for at, token in enumerate(ids)))


def _rewrite_candidates(before: sqlite3.Connection, after: sqlite3.Connection, events: EventRedactor) -> None:
    packed = before.execute("SELECT data, branch, step FROM candidate_rows")
    rows = (
        (pack_step([_details(events, branch, each) for each in unpack_step(data)]), branch, step)
        for data, branch, step in packed
    )
    for chunk in _chunks(rows):
        after.executemany("UPDATE candidate_rows SET data = ? WHERE branch = ? AND step = ?", chunk)


def _details(events: EventRedactor, branch: int, about: TokenDetails) -> TokenDetails:
    history = events.paths[branch, about.request].before(about.position)
    columns = about.candidates
    ids = columns.ids[:]
    for place, token in enumerate(columns.ids):
        ids[place] = events.candidate(history, token, place)
    chosen = events.token(branch, about.request, about.position, about.token)
    candidates = msgspec.structs.replace(columns, ids=ids)
    return msgspec.structs.replace(about, token=chosen, logits_hash=0, candidates=candidates)


def _rewrite_requests(before: sqlite3.Connection, after: sqlite3.Connection, events: EventRedactor) -> None:
    """Stop strings and biased tokens; what forks put in."""
    rows = before.execute("SELECT * FROM requests")
    names = [name for name, *_ in rows.description]
    for row in (dict(zip(names, values, strict=True)) for values in rows):
        key = row["branch"], row["request"]
        params = _json(hide(msgspec.json.decode(row["params"])))
        after.execute("UPDATE requests SET params = ? WHERE branch = ? AND request = ?", (params, *key))
        if row.get("change") is not None:
            change = _json(_fork(events, row["at_position"], key, msgspec.json.decode(row["change"])))
            after.execute("UPDATE requests SET change = ? WHERE branch = ? AND request = ?", (change, *key))


def _fork(events: EventRedactor, at: int, key: tuple[int, str], change: dict[str, Any]) -> dict[str, Any]:
    appended = [events.token(*key, at + index, token) for index, token in enumerate(change.get("appended", ()))]
    return hide(change) | ({"appended": appended} if appended else {})


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _rewrite_header(connection: sqlite3.Connection) -> None:
    """Paths say where somebody works; the model's name, those of adapters, and hashes stay."""
    header: Header = read_header(connection)
    adapters = [msgspec.structs.replace(each, folder=MARK) for each in header.adapters]
    named = tuple(f"{each.name}={MARK}" for each in adapters)
    fields: dict[str, object] = {
        "model_path": marks(header.model_path), "eos_ids": [], "adapters": adapters,
        "options": msgspec.structs.replace(header.options, adapters=named),
    }  # fmt: skip
    rows = [(_json(value), name) for name, value in fields.items()]
    connection.executemany("UPDATE header SET value = ? WHERE name = ?", rows)
    kept = ", ".join(f"'{name}'" for name in Header.__struct_fields__)
    connection.execute(f"DELETE FROM header WHERE name NOT IN ({kept})")


def _hide_other_columns(connection: sqlite3.Connection) -> None:
    connection.create_function("marks", 1, _mark_anything, deterministic=True)
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        columns = connection.execute(f"PRAGMA table_info('{table}')").fetchall()
        secret = [(name, required) for _, name, _, required, *_ in columns if name not in _KNOWN.get(table, ())]
        if secret and table in _KNOWN:
            changes = ", ".join(f"{name} = {_hidden(name, required)}" for name, required in secret)
            connection.execute(f"UPDATE {table} SET {changes}")
        elif table not in _KNOWN:
            connection.execute(f"DELETE FROM {table}")


def _hidden(name: str, required: int) -> str:
    """Text becomes marks; a number becomes null, 0 where there has to be one."""
    return f"CASE typeof({name}) WHEN 'text' THEN marks({name}) ELSE {'0' if required else 'NULL'} END"


def _mark_anything(text: str) -> str | None:
    return marks(text)


def _empty(connection: sqlite3.Connection) -> None:
    for table in _EMPTIED:
        connection.execute(f"DELETE FROM {table}")
    connection.execute("INSERT INTO attachments VALUES (?, ?)", (REDACTED, b""))
    stages = ", ".join(f"'{stage}'" for stage in _STAGES)
    connection.execute(f"DELETE FROM tensors WHERE stage NOT IN ({stages})")


def _chunks(rows: Iterator[Row]) -> Iterator[Sequence[Row]]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
