"""Records a run into a session file, on a thread of its own: what the engine talks to."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias

from engine import events as ev
from engine.execution import DetailsOf
from sessions import schema
from sessions.errors import RecorderError
from sessions.header import Header, write_header
from sessions.keyframes import MAX_EVENTS
from sessions.ledger import Ledger
from sessions.places import side_files
from sessions.request_rows import Vocabulary

FLUSH_AFTER_S: Final = 0.02
"""How long rows of an unfinished step (a slow forward pass, a pause) wait before they are written."""
WAL_PAGES: Final = 4096
"""The log is moved into the database when it has grown to this many pages (16 MiB)."""


@dataclass(frozen=True, slots=True)
class _Said:
    events: Sequence[ev.Event]
    details: DetailsOf | None = None
    ends_step: bool = False


@dataclass(frozen=True, slots=True)
class _Flush:
    done: threading.Event = field(default_factory=threading.Event)


class _Stop:
    pass


_Item: TypeAlias = _Said | _Flush | _Stop


class Recorder:
    """A `Sink` that writes one transaction a step, at most one step behind.

    `warning` holds a line for the user when there is something to say. When the file cannot be written,
    the next `commit`, or `record` between steps, raises RecorderError; nothing is lost, and every later
    call tries again.
    """

    def __init__(
        self,
        path: Path,
        header: Header,
        vocabulary: Vocabulary,
        tokenizer_json: bytes | None = None,
        *,
        force: bool = False,
        keyframe_every: int = MAX_EVENTS,
    ) -> None:
        """Start a new session file at `path`; replace one that exists only if `force`. Raises RecorderError."""
        self.path = path
        self._connection = _create(path, header, tokenizer_json, force)
        self._ledger = Ledger(header, vocabulary, keyframe_every)
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._room = threading.Semaphore(1)  # held by the step that is not written yet
        self._error: str | None = None
        self._lost: str | None = None  # the ledger itself failed: nothing more can be recorded
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    # -- the engine's thread -------------------------------------------------------------------------

    def record(self, events: Sequence[ev.Event]) -> None:
        """Take events between steps, or a plan. An error waits until the plan's step has been committed."""
        self._queue.put(_Said(events))
        if not isinstance(events[-1], ev.Scheduled):
            self._raise_error()

    def commit(self, events: Sequence[ev.Event], details: DetailsOf | None) -> None:
        """Take the results of a step; waits until the step before it is written."""
        self._room.acquire()
        self._queue.put(_Said(events, details, ends_step=True))
        self._raise_error()

    def flush(self) -> None:
        """Return when everything said so far is in the file. Raises RecorderError when it is not."""
        flush = _Flush()
        self._queue.put(flush)
        flush.done.wait()
        self._raise_error()

    def close(self) -> None:
        """Write the rest and leave one file. Raises RecorderError when something could not be written."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(_Stop())
        self._thread.join()
        _seal(self._connection)
        self._connection.close()
        self._raise_error()

    def _raise_error(self) -> None:
        if error := self._lost or self._error:
            raise RecorderError(error)

    # -- the writer's thread -------------------------------------------------------------------------

    def _work(self) -> None:
        while not isinstance(item := self._next(), _Stop):
            if isinstance(item, _Said):
                self._take(item)
            else:
                self._write()
            if isinstance(item, _Flush):
                item.done.set()
        self._ledger.close()
        self._write()

    def _next(self) -> _Item | None:
        """The next thing to do; None when rows have waited long enough for the end of their step."""
        waiting = bool(self._ledger.rows) and self._error is None
        try:
            return self._queue.get(timeout=FLUSH_AFTER_S if waiting else None)
        except Empty:
            return None

    def _take(self, said: _Said) -> None:
        try:
            if self._lost is None:
                self._ledger.take(said.events, said.details() if said.details else ())
        except Exception as error:
            step = said.events[-1].step
            self._lost = f"{self.path}: recording stopped at step {step}: {type(error).__name__} {error}"
            self._ledger.rows.clear()
        if said.ends_step:
            self._write()
            self._room.release()

    def _write(self) -> None:
        """Write all rows there are; keep them when that fails."""
        if not self._ledger.rows:
            return
        try:
            self._ledger.rows.write(self._connection)
        except sqlite3.Error as error:
            self._error = f"{self.path} cannot be written ({error}): nothing is lost, it is tried again"
        else:
            self._ledger.rows.clear()
            self._error = None


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


def _create(path: Path, header: Header, tokenizer_json: bytes | None, force: bool) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if force:
            for old in (path, *side_files(path)):
                old.unlink(missing_ok=True)
        path.open("xb").close()
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        schema.create(connection)
        write_header(connection, header, tokenizer_json)
    except FileExistsError as error:
        raise RecorderError(f"{path} exists: choose another name, or overwrite it with --force") from error
    except (OSError, sqlite3.Error) as error:
        raise RecorderError(f"{path} cannot be written: {error}") from error
    return connection
