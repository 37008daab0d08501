"""Record: one branch of a session as the screens read it, growing or finished.

Everything is by index or by key, and costs what is on the screen, not what is in the session. Texts it returns
are harmless (`engine.sanitise.display_text`). It never waits for the engine. `session` is the reader below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from engine.details import TokenDetails
from engine.sanitise import display_bytes, display_text
from engine.state import State
from sessions.event_log import EventFilter, EventView
from sessions.header import Header
from sessions.reader import Session
from sessions.records import BlockChange, Decision, EventRow, Phase, RequestRow, StepRow, TokenRow
from sessions.steps import StepCounts
from workbench.known_requests import KnownRequests
from workbench.marks import Marks
from workbench.token_ids import TokenIds

Direction = Literal[-1, 1]


class Record:
    """One branch of a run."""

    def __init__(self, session: Session, branch: int = 0) -> None:
        self.session = session
        self.branch = branch
        self.marks = Marks(session, branch)
        self._ids = TokenIds(session, branch)
        self._texts: dict[int, str] = {}
        self._requests = KnownRequests(session, branch)
        self._last_step = 0
        self.catch_up()

    @classmethod
    def open(cls, path: Path) -> Record:
        """The newest branch of the session file at `path`. Raises SessionError, in one line."""
        session = Session.open(path)
        return cls(session, max(row.branch for row in session.branches))

    @property
    def about(self) -> Header:
        """The model, its shape, the options."""
        return self.session.header

    @property
    def path(self) -> Path:
        return Path(self.session.path)

    def refresh(self) -> bool:
        """Look for what was committed since; whether there was anything."""
        if not self.session.refresh():
            return False
        self.catch_up()
        return True

    def catch_up(self) -> None:
        """Take in what the session has."""
        self._last_step = self.session.last_step(self.branch)
        self._requests.refresh()

    def close(self) -> None:
        self.session.close()

    # -- time ----------------------------------------------------------------------------------------

    @property
    def last_step(self) -> int:
        """The last step that ended; 0 before the first."""
        return self._last_step

    def state_at(self, step: int) -> State:
        """The bookkeeping after `step`. Do not change it; the two returned last stay as they are."""
        if step >= 0:
            return self.session.state_at(step, self.branch)
        return State.at_start(self.about.num_blocks, self.about.options)

    def events_of(self, step: int) -> Sequence[EventRow]:
        """Everything said with this step number, in order; what was said between it and the next too."""
        return self.session.events_of_step(step, self.branch)

    def decisions(self, step: int) -> Sequence[Decision]:
        """What was decided or refused in a step, in order."""
        return self.session.decisions(step, self.branch)

    def step_row(self, step: int) -> StepRow | None:
        """The step in numbers; None for step 0."""
        return self.session.step_row(step, self.branch)

    def step_rows(self, start: int, stop: int) -> Sequence[StepRow]:
        """Steps `start` to `stop` (not included) in numbers, those there are."""
        return self.session.step_rows(start, stop - 1, self.branch)

    def step_counts(self, start: int, stop: int) -> Sequence[StepCounts]:
        """A few counts of steps `start` to `stop` (not included), for charts of many steps."""
        return self.session.step_counts(start, stop - 1, self.branch)

    def notable(self, step: int, direction: Direction) -> int | None:
        """The nearest notable step after (1) or before (-1) `step`."""
        find = self.session.next_notable if direction > 0 else self.session.previous_notable
        return find(step, self.branch)

    # -- the log -------------------------------------------------------------------------------------

    @property
    def event_count(self) -> int:
        return self.session.last_seq

    def events(self, wanted: EventFilter | None = None) -> EventView:
        """The event log as an indexable list; with a filter, `scan` it until it is `complete`."""
        return self.session.events(wanted)

    # -- requests ------------------------------------------------------------------------------------

    def requests(self) -> KnownRequests:
        """All requests, by arrival, as they are at the end of the record."""
        return self._requests

    def request(self, request: str) -> RequestRow | None:
        return self._requests.find(request)

    def phases(self, request: str) -> Sequence[Phase]:
        """What the request did when, in order."""
        return self.session.request_phases(request, self.branch)

    # -- tokens --------------------------------------------------------------------------------------

    def token_ids(self, request: str) -> Sequence[int]:
        """Prompt and output, over the whole record; position is the index."""
        return self._ids.of(request)

    def token_rows(self, request: str, start: int, stop: int) -> Sequence[TokenRow]:
        """Generated tokens at positions `start` to `stop` (not included); prompt tokens have no row."""
        return self.session.tokens(request, self.branch, start, stop)

    def token_row(self, request: str, position: int) -> TokenRow | None:
        return self.session.token(request, position, self.branch)

    def details(self, request: str, position: int) -> TokenDetails | None:
        """Why this token: None for prompt tokens, and where the run recorded none."""
        return self.session.details(request, position, self.branch)

    def token_text(self, token: int) -> str:
        """A token's text, harmless; the bytes of one that is a part of a character."""
        if token not in self._texts:
            text = self.session.token_text(token)
            broken = "\ufffd" in text
            self._texts[token] = display_bytes(self.session.token_bytes(token)) if broken else display_text(text)
        return self._texts[token]

    # -- blocks --------------------------------------------------------------------------------------

    def block_history(self, block: int, until_step: int) -> Sequence[BlockChange]:
        """How a block changed hands, oldest first, up to and with a step."""
        history = self.session.block_history(block, self.branch)
        return [change for change in history if change.step <= until_step]

    def block_given_out(self, block: int, until_step: int) -> BlockChange | None:
        """How a block last came to an owner of its own."""
        return self.session.given_out(block, until_step, self.branch)

    def latest_block_changes(self, block: int, until_step: int, most: int) -> Sequence[BlockChange]:
        """The same, newest first and no more than `most`."""
        return self.session.latest_changes(block, until_step, most, self.branch)


__all__ = ["Direction", "Record"]
