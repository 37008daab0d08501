"""Record: what the screens read of one branch of a session, growing or finished, and nothing else.

Everything is by index or by key, and costs what is on the screen, not what is in the session. Texts it returns
are harmless (`engine.sanitise.display_text`). It never waits for the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from engine.details import TokenDetails
from engine.state import State
from sessions.header import Header
from sessions.records import BlockChange, Decision, EventRow, Phase, RequestRow, StepRow, TokenRow

Direction = Literal[-1, 1]


class Record(Protocol):
    """One branch of a run."""

    @property
    def about(self) -> Header:
        """The model, its shape, the options."""
        ...

    @property
    def path(self) -> str:
        """The session file."""
        ...

    def refresh(self) -> bool:
        """Look for what was committed since; whether there was anything."""
        ...

    def close(self) -> None: ...

    # -- time --

    @property
    def last_step(self) -> int:
        """The last committed step; 0 before the first."""
        ...

    def state_before(self, step: int) -> State:
        """The fold of everything before `step`'s own events: a fresh state, the caller's to change."""
        ...

    def events_of(self, step: int) -> Sequence[EventRow]:
        """Everything said with this step number, in order; submissions after it too."""
        ...

    def step_row(self, step: int) -> StepRow | None:
        """The step in numbers; None for step 0."""
        ...

    def step_rows(self, start: int, stop: int) -> Sequence[StepRow]:
        """Steps `start` to `stop` (not included) in numbers, those there are."""
        ...

    @property
    def marks(self) -> bytes | bytearray:
        """One `workbench.widgets.timeline.StepMark` byte a step, step 0 included."""
        ...

    def notable(self, step: int, direction: Direction) -> int | None:
        """The nearest notable step after or before `step`."""
        ...

    def decisions(self, step: int) -> Sequence[Decision]:
        """What was decided or refused in a step, in order."""
        ...

    # -- the log --

    @property
    def event_count(self) -> int: ...

    def events(self, start: int, stop: int) -> Sequence[EventRow]:
        """Events by index from 0; an event's `seq` is its index + 1."""
        ...

    def find_events(self, types: Sequence[str] = (), request: str | None = None, text: str = "") -> Sequence[int]:
        """Indices of matching events, in order; `text` is looked for in their stored form."""
        ...

    # -- requests and tokens --

    def requests_until(self, step: int) -> Sequence[RequestRow]:
        """Requests that had arrived after `step`, by arrival, as they are at the end of the record."""
        ...

    def request(self, request: str) -> RequestRow | None: ...

    def phases(self, request: str) -> Sequence[Phase]:
        """What the request did when, in order."""
        ...

    def token_ids(self, request: str) -> Sequence[int]:
        """Prompt and output, over the whole record; position is the index."""
        ...

    def token_rows(self, request: str, start: int, stop: int) -> Sequence[TokenRow]:
        """Generated tokens at positions `start` to `stop` (not included); prompt tokens have no row."""
        ...

    def token_row(self, request: str, position: int) -> TokenRow | None: ...

    def details(self, request: str, position: int) -> TokenDetails | None:
        """Why this token: None for prompt tokens, and where the run recorded none."""
        ...

    def token_text(self, token: int) -> str:
        """A token's text, harmless; `⟨id⟩` where there is no tokenizer."""
        ...

    # -- blocks --

    def block_history(self, block: int, until_step: int) -> Sequence[BlockChange]:
        """How a block changed hands, oldest first, up to and with a step."""
        ...


__all__ = ["Direction", "Record"]
