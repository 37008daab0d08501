"""Writes a run into its session file: one transaction a step."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from engine import events as ev
from engine.capture import Captured
from engine.execution import DetailsOf
from sessions.creating import seal
from sessions.errors import RecorderError
from sessions.explaining import Explainer
from sessions.header import read_header
from sessions.keyframes import MAX_EVENTS
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

    def __init__(self, path: Path, keyframe_every: int = MAX_EVENTS) -> None:
        """Fill the empty session at `path`, made by `create_session`."""
        self.path = path
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        header = read_header(self._connection)
        self._ledger = Ledger(header, vocabulary_of(self._connection), keyframe_every)
        self._explainer = Explainer(header, self._ledger.state.requests)

    @property
    def pending(self) -> bool:
        """Whether something was said that is not in the file yet."""
        return bool(self._ledger.rows)

    def take(self, events: Sequence[ev.Event], logits: Logits | None = None) -> None:
        """Turn what was said into rows; tokens are explained from `logits` [tokens, vocab]."""
        self._ledger.take(events, self._explainer.explain(events, logits))

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
