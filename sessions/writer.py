"""Writes a run into its session file: one transaction a step."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from engine import events as ev
from engine.capture import Captured
from engine.execution import DetailsOf
from sessions.branching import read_before
from sessions.creating import seal
from sessions.errors import RecorderError
from sessions.explaining import Explainer
from sessions.fetching import fetch_value
from sessions.header import read_header
from sessions.keyframes import KEYFRAME_EVERY
from sessions.ledger import Ledger
from sessions.scratch import Logits
from sessions.tensors import tensor_row
from sessions.vocabulary import vocabulary_of

WAL_PAGES: Final = 4096
"""The log is moved into the database when it has grown to this many pages (16 MiB)."""


class Writer:
    """The only one who writes a session. Also a `Sink` by itself, for runs that can wait for every write.

    A write that fails raises RecorderError and keeps its rows: the next one tries them again.
    """

    def __init__(self, path: Path, keyframe_every: int = KEYFRAME_EVERY) -> None:
        """Fill the session at `path`: an empty one, or one that a new branch is to grow in."""
        self.path = path
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        self._header = read_header(self._connection)
        seq = fetch_value(self._connection, "SELECT max(seq) FROM events") or 0
        pages = fetch_value(self._connection, "SELECT max(id) FROM pages") or 0
        self._ledger = Ledger(self._header, vocabulary_of(self._connection), keyframe_every, seq, pages)
        self._explainer = Explainer(self._header)

    @property
    def pending(self) -> bool:
        """Whether something was said that is not in the file yet."""
        return bool(self._ledger.rows)

    def take(self, events: Sequence[ev.Event], logits: Logits | None = None) -> None:
        """Turn what was said into rows; tokens are explained from `logits` [tokens, vocab]."""
        if events and isinstance(events[0], ev.Branched):
            self._go_back(events[0])
            events = events[1:]
        self._ledger.take(events, self._explainer.explain(self._ledger.past, events, logits))

    def _go_back(self, event: ev.Branched) -> None:
        """The engine stands at an earlier step: what it says next belongs to a new branch."""
        if self.pending:
            self.write()
        self._explainer.forget_all(list(self._ledger.state.requests))
        self._ledger.go_back(event, read_before(self._connection, self._header, event.parent, event.step))

    def capture(self, tensors: Iterable[Captured]) -> None:
        """Turn captured tensors into rows."""
        self._ledger.rows.add_all("tensors", map(tensor_row, tensors))

    def write(self) -> None:
        """Write all rows in one transaction. Raises RecorderError."""
        try:
            self._ledger.rows.write(self._connection)
        except sqlite3.Error as error:
            raise RecorderError(
                f"{self.path} cannot be written ({error}): nothing is lost, it is tried again"
            ) from error
        self._ledger.rows.clear()

    def record(self, events: Sequence[ev.Event]) -> None:
        """Take events between steps, or a plan."""
        self.take(events)

    def commit(self, events: Sequence[ev.Event], details: DetailsOf | None) -> None:
        """Take the results of a step and write it."""
        self.take(events, details.logits if details else None)
        self.write()

    def close(self) -> None:
        """Write the rest and leave one file, unless a reader holds its log. Raises RecorderError."""
        try:
            self._ledger.close()
            self.write()
            seal(self._connection)
        finally:
            self._connection.close()
