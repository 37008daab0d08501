"""Runs a record again: the same inputs, each at its step, and every event, token and hash compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from engine import events as ev
from engine.engine import Begun, Step, StepFailedError
from engine.params import ForkSpec, Policy, RequestSpec
from engine.rewinding import Rewound
from engine.state import State
from engine.timeline import Past
from sessions.reader import Session
from sessions.replay_compare import Comparison, Difference, compare_events, is_end
from sessions.replay_inputs import is_input, repeat

FETCHED_EVENTS = 5_000


class Replayable(Protocol):
    """What replay drives: an Engine, or anything that looks like one, whose sink is the replay's `said`."""

    @property
    def state(self) -> State: ...

    def submit(self, spec: RequestSpec) -> list[str]: ...
    def abort(self, request: str) -> None: ...
    def fork(self, spec: ForkSpec) -> str: ...
    def preempt(self, request: str) -> None: ...
    def evict(self, block: int) -> None: ...
    def set_policy(self, policy: Policy) -> None: ...
    def cost_of_rewind(self, step: int, branch: int | None = None, *, exact: bool = False) -> Rewound: ...
    def rewind(
        self, step: int, branch: int | None = None, *, exact: bool = False, afresh: bool = False
    ) -> Rewound: ...
    def step(self) -> Step | None: ...
    def begin(self) -> Begun: ...
    def abandon(self, error: str = "abandoned", ended: tuple[str, ...] = ()) -> None: ...


class Said:
    """A sink that keeps what is said until it is compared."""

    def __init__(self) -> None:
        self._events: list[ev.Event] = []

    def record(self, events: Sequence[ev.Event]) -> None:
        self._events.extend(events)

    def commit(self, events: Sequence[ev.Event], _details: object) -> None:
        self._events.extend(events)

    def capture(self, _tensors: object) -> None:
        """Captured tensors are not compared: the logits that follow from them are."""

    def close(self) -> None:
        """Nothing to close."""

    def take(self) -> list[ev.Event]:
        """What was said since the last call."""
        said, self._events = self._events, []
        return said


class RecordTimeline:
    """The record as the past of the run that repeats it: so far the two are the same."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.branch = 0  # the latest that was opened again

    def at(self, branch: int, step: int) -> Past:
        return self._session.past(step, branch)

    def state_at(self, branch: int, step: int) -> State:
        return self._session.state_at(step, branch)

    def last_branch(self) -> int:
        return self.branch

    def events(self, branch: int, after: int, upto: int) -> Iterator[ev.Event]:
        return self._session.events_between(after, upto, branch)

    def close(self) -> None:
        """Whoever opened the session closes it."""


def replay(
    session: Session, engine: Replayable, said: Said, timeline: RecordTimeline, comparison: Comparison
) -> Iterator[int]:
    """Run the record again on `engine`, which has taken no step; yields the number of each step that agrees.

    Ends early with `comparison.first` set where something differs. A step that was cut off is not run.
    """
    events = _recorded(session)
    for event in events:
        if is_input(event):
            repeat(event, engine)
            if isinstance(event, ev.Branched):
                timeline.branch = event.branch
            expected = [event, *_with(events, len(actual := said.take()) - 1)]
            comparison.first = compare_events(expected, actual)
        else:
            of_step = [event, *_rest(events)]
            if not is_end(of_step[-1]):
                return
            comparison.first = _run_step(session, engine, said, comparison, of_step)
        if comparison.first is not None:
            return
        if not is_input(event):
            yield event.step


def _run_step(
    session: Session, engine: Replayable, said: Said, comparison: Comparison, expected: Sequence[ev.Event]
) -> Difference | None:
    end = expected[-1]
    if isinstance(end, ev.StepFailed):
        engine.begin()
        engine.abandon(end.error, end.ended)
        return compare_events(expected, said.take())
    try:
        step = engine.step()
    except StepFailedError:
        step = None
    actual = said.take()
    recorded = session.details_of_step(end.step, end.branch)
    again = step.details if step is not None else None
    logits = comparison.compare_logits(end.step, recorded, again) if again is not None else None
    return compare_events(expected, actual, logits) or logits


def _recorded(session: Session) -> Iterator[ev.Event]:
    """Every event of all branches, in the order they were said."""
    view = session.events()
    for start in range(0, len(view), FETCHED_EVENTS):
        yield from (row.event for row in view.rows(start, start + FETCHED_EVENTS))


def _rest(events: Iterator[ev.Event]) -> Iterator[ev.Event]:
    """The events up to the end of the step."""
    for event in events:
        yield event
        if is_end(event):
            return


def _with(events: Iterator[ev.Event], count: int) -> Iterator[ev.Event]:
    """The next `count` events."""
    for _, event in zip(range(count), events, strict=False):
        yield event


__all__ = ["RecordTimeline", "Replayable", "Said", "replay"]
