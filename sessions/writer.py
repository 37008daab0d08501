"""Writes a session file: one transaction a step, of rows folded from what the engine said."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from engine import events as ev
from engine.details import TokenDetails
from engine.explain import explain
from engine.sampler_rows import SamplerRows
from engine.sampling import SamplerRow, choose
from engine.tokens import TokenLog
from sessions import schema
from sessions.errors import RecorderError
from sessions.header import Header, write_header
from sessions.keyframes import MAX_EVENTS
from sessions.ledger import Ledger
from sessions.places import side_files
from sessions.request_rows import Vocabulary

WAL_PAGES: Final = 4096
"""The log is moved into the database when it has grown to this many pages (16 MiB)."""

Logits = npt.NDArray[np.float32]


def create(path: Path, header: Header, tokenizer_json: bytes | None, force: bool) -> None:
    """Make an empty session file; replace one that exists only if `force`. Raises RecorderError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if force:
            for old in (path, *side_files(path)):
                old.unlink(missing_ok=True)
        path.open("xb").close()
        connection = _connect(path)
        schema.create(connection)
        write_header(connection, header, tokenizer_json)
        connection.close()
    except FileExistsError as error:
        raise RecorderError(f"{path} exists: choose another name, or overwrite it with --force") from error
    except (OSError, sqlite3.Error) as error:
        raise RecorderError(f"{path} cannot be written: {error}") from error


class Writer:
    """Adds to the session file at `path`, as the only one who does.

    A write that fails is said (`take` returns the line) and tried again with the next; nothing is lost by it.
    """

    def __init__(
        self, path: Path, header: Header, vocabulary: Vocabulary, keyframe_every: int = MAX_EVENTS
    ) -> None:
        self._path = path
        self._connection = _connect(path)
        self._ledger = Ledger(header, vocabulary, keyframe_every)
        self._explainer = _Explainer(header, self._ledger)
        self._lost: str | None = None  # the ledger itself failed: nothing more can be recorded

    def take(self, events: Sequence[ev.Event], logits: Logits | None = None) -> None:
        """Fold `events` into rows for `write`, and explain their tokens from `logits` [tokens, vocab]."""
        if self._lost is not None:
            return
        try:
            self._ledger.take(events, self._explainer.explain(events, logits))
        except Exception as error:  # a fault of ours must not end the run that is being recorded
            step = events[-1].step
            self._lost = f"{self._path}: recording stopped at step {step}: {type(error).__name__} {error}"
            self._ledger.rows.clear()

    def write(self) -> str | None:
        """Write all rows there are in one transaction; the line that says why it could not be done."""
        if self._lost is None and self._ledger.rows:
            try:
                self._ledger.rows.write(self._connection)
            except sqlite3.Error as error:
                return f"{self._path} cannot be written ({error}): nothing is lost, it is tried again"
            self._ledger.rows.clear()
        return self._lost

    def close(self) -> str | None:
        """Write the rest and leave one plain file; the line that says what could not be written."""
        self._ledger.close()
        problem = self.write()
        _seal(self._connection)
        self._connection.close()
        return problem


class _Explainer:
    """Works out the details of tokens from their logits, as the engine chose them."""

    def __init__(self, header: Header, ledger: Ledger) -> None:
        self._requests = ledger.state.requests
        self._tokens = TokenLog()
        self._rows = SamplerRows(header.options.seed, header.shape.vocab_size)

    def explain(self, events: Sequence[ev.Event], logits: Logits | None) -> Sequence[TokenDetails]:
        """The details of the `token` events among `events`; called before these are folded."""
        chosen = [event for event in events if isinstance(event, ev.Token)]
        details: Sequence[TokenDetails] = ()
        if logits is not None and chosen:
            rows = [self._row(event) for event in chosen]
            choices = choose(logits, rows)
            assert choices.tokens == [event.token for event in chosen], "the logits choose other tokens"
            details = explain(logits, rows, choices)
        for event in events:
            self._tokens.apply(event)
            if isinstance(event, ev.Finished):
                self._rows.forget(event.request)
        return details

    def _row(self, event: ev.Token) -> SamplerRow:
        request = self._requests[event.request]
        tokens = self._tokens.tokens_of(event.request)
        return self._rows.row(request.id, request.params, request.sample, request.prompt_tokens, tokens)


def seal(path: Path) -> bool:
    """Make a session that nobody has open one plain file; whether that was possible. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return _seal(connection)
    finally:
        connection.close()


def _seal(connection: sqlite3.Connection) -> bool:
    """Move the log into the database and stop using one; False while a reader keeps it open."""
    try:
        connection.execute("PRAGMA busy_timeout = 500")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        mode = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        return bool(mode == ("delete",))
    except sqlite3.OperationalError:
        return False


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    return connection
