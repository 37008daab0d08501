"""A session as the screens see it: everything that was recorded, at any step, while it grows or afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from engine import events as ev
from engine.state import State
from engine.timeline import Past
from sessions.blocks import BlockQueries
from sessions.decisions import code_in
from sessions.errors import SessionError
from sessions.event_log import EventFilter, EventView, event_row, fetch_events
from sessions.functions import add_functions
from sessions.header import Header, read_header
from sessions.opening import ReadOnly, open_read_only
from sessions.past import read_past
from sessions.plugin_deeds import PluginQueries
from sessions.query import Table, run_query
from sessions.records import Branch, Decision, EventRow
from sessions.requests import RequestQueries
from sessions.schema import TABLES
from sessions.seek import Seeker, last_seq
from sessions.stop_queries import StopQueries
from sessions.tensors import TensorQueries
from sessions.vocabulary import Vocabulary, is_redacted, vocabulary_of

__all__ = ["EventFilter", "EventView", "Session", "Table"]


class Session(RequestQueries, BlockQueries, TensorQueries, StopQueries, PluginQueries):
    """A recorded run, opened read-only. Use one from one thread at a time; `reopen` gives another thread its own.

    No transaction is held between calls: `refresh` tells whether the writer has added something. Any
    method raises SessionError where the file turns out to be damaged.
    """

    def __init__(self, path: Path, file: ReadOnly) -> None:
        super().__init__(path, file.connection)
        self._file = file
        self.header: Header = read_header(file.connection)
        self._seeker = Seeker(file.connection, self.header)
        self._version = -1
        self.refresh()
        add_functions(file.connection, self.token_text)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Session:
        """Open the session at `path`. Raises SessionError, in one line, when it cannot be read."""
        file = open_read_only(Path(path))
        try:
            return cls(Path(path), file)
        except BaseException:
            file.close()
            raise

    @property
    def uri(self) -> str:
        """What SQLite calls the file that is read: the session, or the copy of it."""
        return self._file.uri

    def reopen(self) -> Session:
        """The same session on a connection of its own."""
        return Session.open(self.path)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- time ----------------------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Take notice of what was written since the last call; whether there was anything."""
        version = self._value("PRAGMA data_version")
        if version == self._version:
            return False
        self._version = version
        self.last_seq: int = self._value("SELECT max(seq) FROM events") or 0
        return True

    @property
    def branches(self) -> list[Branch]:
        return self._records(Branch, "SELECT * FROM branches ORDER BY branch")

    def step_under_way(self, branch: int = 0) -> int | None:
        """The step that has a plan but no end: being computed now, or cut off when the writer died."""
        step = self._value(
            "SELECT step FROM events WHERE branch = ? AND seq = (SELECT max(seq) FROM events WHERE branch = ?)",
            branch, branch,
        )  # fmt: skip
        return step if step is not None and step > self.last_step(branch) else None

    def state_at(self, step: int, branch: int = 0) -> State:
        """The bookkeeping at the end of `step`, with what was said before the next step began.

        Do not change it. The two states returned last stay as they are, so a step and the one before it
        can be compared; keep no more. A step without an end is rolled back, as the engine would.
        """
        if step > self.last_step(branch):
            state = self._seeker.fresh_state_at(branch, step)
            state.roll_back()
            return state
        return self._seeker.state_at(branch, step)

    def state_under_way(self, branch: int = 0) -> State:
        """Everything that was recorded so far, the plan of the step under way included."""
        return self._seeker.state_at(branch, max(self.last_step(branch), self.step_under_way(branch) or 0))

    def past(self, step: int, branch: int = 0) -> Past:
        """The bookkeeping and all tokens at the end of `step`, for the caller to change."""
        return read_past(self._connection, self.header, branch, step)

    # -- events --------------------------------------------------------------------------------------

    def events(self, wanted: EventFilter | None = None) -> EventView:
        """The event log as an indexable list; with a filter, `scan` it until it is `complete`."""
        return EventView(self._connection, wanted or EventFilter())

    def event(self, seq: int) -> ev.AnyEvent:
        """Event number `seq`, counted from 1. Raises SessionError where there is none."""
        rows = fetch_events(self._connection, seq, seq)
        if not rows:
            raise SessionError(f"{self.path} has no event {seq}")
        return rows[0].event

    def event_lines(self, first_seq: int, last_seq: int) -> list[str]:
        """Events as their lines of JSON, from number `first_seq` to `last_seq`, both included."""
        rows = self._rows("SELECT data FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq", first_seq, last_seq)
        return [line for (line,) in rows]

    def events_of_step(self, step: int, branch: int = 0) -> list[EventRow]:
        """The events that carry `step`: its own, and those said between it and the next."""
        return [
            row for part in self.lineage(branch).between(step, step) for row in self.said_in(step, part.branch)
        ]

    def events_between(self, after: int, upto: int, branch: int = 0) -> Iterator[ev.AnyEvent]:
        """The events of steps `after` + 1 to `upto` on the way to `branch`, and those said after each of them."""
        for part in self.lineage(branch).between(after + 1, upto):
            for step in range(part.first_step, part.last_step + 1):
                yield from (row.event for row in self.said_in(step, part.branch))

    def said_in(self, step: int, branch: int) -> list[EventRow]:
        """The events that carry `step` and that branch itself, not one that it continues."""
        first = last_seq(self._connection, branch, step - 1) + 1
        rows = self._rows(
            "SELECT seq, data FROM events WHERE seq BETWEEN ? AND ? AND branch = ? ORDER BY seq",
            first, last_seq(self._connection, branch, step), branch,
        )  # fmt: skip
        return [event_row(seq, line) for seq, line in rows]

    def decisions(self, step: int, branch: int = 0) -> list[Decision]:
        """What the engine decided in `step`, in order."""
        decided = ((row, code_in(row.event)) for row in self.events_of_step(step, branch))
        return [
            Decision(row.seq, branch, step, ev.request_in(row.event), code, row.event)
            for row, code in decided
            if code is not None
        ]

    # -- text ----------------------------------------------------------------------------------------

    @cached_property
    def redacted(self) -> bool:
        """Whether its text was taken out: token ids are pseudonyms, and texts are marks."""
        return is_redacted(self._connection)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Text of token ids, by the tokenizer that the session carries; `<7>` for token 7 without one."""
        return vocabulary_of(self._connection)

    def token_text(self, token: int) -> str:
        """The text of one token."""
        return self.vocabulary.token_text(token)

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one token: what tells tokens apart that are parts of one character."""
        return self.vocabulary.token_bytes(token)

    # -- SQL -----------------------------------------------------------------------------------------

    def count_rows(self, table: str) -> int:
        """How many rows a table holds."""
        assert table in TABLES, f"{table} is no table"
        return self._value(f"SELECT count(*) FROM {table}") or 0

    def columns(self, table: str) -> list[tuple[str, str]]:
        """The columns of a table, and the type each is declared with."""
        assert table in TABLES, f"{table} is no table"
        return [(name, kind) for _, name, kind, *_ in self._rows(f"PRAGMA table_info({table})")]

    def query(self, sql: str) -> Table:
        """The answer to one SELECT. Raises SessionError for anything else, and for SQL that is wrong."""
        return run_query(self._file.uri, self.token_text, sql)
