"""Moment: everything about the step under the cursor, computed once and shared by all views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from engine import events as ev
from engine.state import Request, RequestState, State
from sessions.records import Decision, EventRow, StepRow
from workbench.changes import Changes, changes_of
from workbench.clock import Cursor
from workbench.known_requests import LiveFirst, Rows
from workbench.record import Record


@dataclass(frozen=True)
class Moment:
    """The run as it was after `step`, and what that step changed. Do not change the states."""

    record: Record
    cursor: Cursor
    before: State  # after the step before; empty at step 0
    state: State
    events: Sequence[EventRow]
    changes: Changes
    step_row: StepRow | None  # None at step 0

    @property
    def branch(self) -> int:
        return self.cursor.branch

    @property
    def step(self) -> int:
        return self.cursor.step

    @property
    def live(self) -> bool:
        """Whether the screen follows the run."""
        return self.cursor.live

    @cached_property
    def decisions(self) -> Sequence[Decision]:
        """What the engine decided or refused in this step, in order."""
        return self.record.decisions(self.step)

    @cached_property
    def batch(self) -> tuple[ev.Work, ...]:
        """What this step computed."""
        return tuple(self.changes.scheduled.values())

    @cached_property
    def budget(self) -> int:
        """The most tokens this step could have computed."""
        scheduled = [row.event.budget for row in self.events if isinstance(row.event, ev.Scheduled)]
        return scheduled[-1] if scheduled else self.record.about.options.token_budget

    @cached_property
    def requests(self) -> LiveFirst:
        """Every request that had arrived: live ones by arrival, then finished ones, the latest first.

        A row's state, counts and ends are as of the end of the record; ask `live_request` and `state_of`.
        """
        live = sorted(request.arrival for request in self.state.requests.values())
        return LiveFirst(self.arrived, live)

    @property
    def arrived(self) -> Rows:
        """The same requests, by arrival."""
        return self.record.requests().first(self.state.next_arrival)

    def index_of(self, request: str | None) -> int | None:
        """Where a request stands among `requests`; None where it had not arrived."""
        row = None if request is None else self.record.request(request)
        return None if row is None else self.requests.index_of(row.arrival)

    def live_request(self, request: str | None) -> Request | None:
        """The request in the folded state; None when it has not arrived or is finished."""
        return None if request is None else self.state.requests.get(request)

    def state_of(self, request: str) -> RequestState | None:
        """The request's state at this moment; None before it arrived."""
        if (live := self.state.requests.get(request)) is not None:
            return live.state
        row = self.record.request(request)
        return RequestState.FINISHED if row is not None and row.submitted_step <= self.step else None

    def token_count(self, request: str) -> int:
        """How many tokens, prompt and output, the request had at this moment."""
        if (live := self.state.requests.get(request)) is not None:
            return live.num_tokens
        row = self.record.request(request)
        if row is None or row.submitted_step > self.step:
            return 0
        return row.prompt_tokens + row.output_tokens


def moment_at(record: Record, cursor: Cursor) -> Moment:
    """Work out the moment under the cursor."""
    before = record.state_at(cursor.step - 1)
    state = record.state_at(cursor.step)
    events = record.events_of(cursor.step)
    changes = changes_of([row.event for row in events], before, state)
    return Moment(record, cursor, before, state, events, changes, record.step_row(cursor.step))


__all__ = ["Moment", "moment_at"]
