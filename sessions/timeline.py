"""A session as the timeline of the engine that is being recorded into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from engine import events as ev
from engine.state import State
from engine.timeline import Past
from sessions.reader import Session


class SessionTimeline:
    """Reads the past from the session at `path`; `flush` returns when all that was said is in it."""

    def __init__(self, path: Path, flush: Callable[[], None]) -> None:
        self._path = path
        self._flush = flush
        self._open: Session | None = None

    def at(self, branch: int, step: int) -> Past:
        """How things stood after `step` of `branch`. LookupError where there is no such step."""
        session = self._session(branch, step)
        return session.past(step, branch)

    def state_at(self, branch: int, step: int) -> State:
        """The bookkeeping alone. LookupError where there is no such step."""
        return self._session(branch, step).state_at(step, branch)

    def last_branch(self) -> int:
        """The branch that was opened last."""
        return self._fresh().branches[-1].branch

    def events(self, branch: int, after: int, upto: int) -> Iterator[ev.Event]:
        """The events of steps `after` + 1 to `upto` on the way to `branch`, and those said after each of them."""
        return self._session(branch, upto).events_between(after, upto, branch)

    def close(self) -> None:
        """Let go of the file, so that its writer can leave a single one."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _session(self, branch: int, step: int) -> Session:
        session = self._fresh()
        if branch not in {row.branch for row in session.branches}:
            raise LookupError(f"there is no branch {branch}")
        if not 0 <= step <= session.last_step(branch):
            raise LookupError(f"there is no step {step} in branch {branch}")
        return session

    def _fresh(self) -> Session:
        """The session, with everything that was said so far."""
        self._flush()
        if self._open is None:
            self._open = Session.open(self._path)
        self._open.refresh()
        return self._open
