"""Runs a record again: the same inputs, each at its step, and every event, token and hash compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

from engine import events as ev
from engine.engine import Begun, Step, StepFailedError
from engine.params import ForkSpec, Policy, RequestSpec
from engine.plug_guard import PluginFailedError
from engine.plugs import Plugs
from engine.rewinding import Rewound
from engine.state import State
from engine.timeline import Past
from sessions.reader import Session
from sessions.replay_compare import Comparison, compare_events, is_end, refused
from sessions.replay_difference import Difference
from sessions.replay_inputs import is_input, repeat
from sessions.replay_rows import StepRows

FETCHED_EVENTS = 5_000


class Replayable(Protocol):
    """What replay drives: an Engine, or anything that looks like one, whose sink is the replay's `said`."""

    plugs: Plugs

    @property
    def state(self) -> State: ...

    def submit(self, spec: RequestSpec) -> list[str]: ...
    def abort(self, request: str) -> None: ...
    def fork(self, spec: ForkSpec) -> str: ...
    def preempt(self, request: str) -> None: ...
    def evict(self, block: int) -> None: ...
    def set_policy(self, policy: Policy) -> None: ...
    def disable_plugin(self, failure: PluginFailedError) -> None: ...
    def cost_of_rewind(self, step: int, branch: int | None = None, *, exact: bool = False) -> Rewound: ...
    def rewind(
        self, step: int, branch: int | None = None, *, exact: bool = False, afresh: bool = False
    ) -> Rewound: ...
    def step(self) -> Step | None: ...
    def begin(self) -> Begun: ...
    def abandon(self, error: str = ev.ABANDONED, ended: tuple[str, ...] = ()) -> None: ...


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
            comparison.first = _give(event, events, engine, said)
            if isinstance(event, ev.Branched):
                timeline.branch = event.branch
        else:
            of_step = [event, *_rest(events)]
            if not is_end(of_step[-1]):
                return
            comparison.first = _run_step(session, engine, said, comparison, of_step)
        if comparison.first is not None:
            return
        if not is_input(event):
            yield event.step


def _give(event: ev.Event, events: Iterator[ev.Event], engine: Replayable, said: Said) -> Difference | None:
    """Give the input that caused `event`, and compare what comes of it with that event and those after it."""
    try:
        repeat(event, engine)
    except (LookupError, RuntimeError, ValueError) as error:
        said.take()
        return refused(event, error)
    actual = said.take()
    return compare_events([event, *islice(events, len(actual) - 1)], actual)


def _run_step(
    session: Session, engine: Replayable, said: Said, comparison: Comparison, expected: Sequence[ev.Event]
) -> Difference | None:
    end = expected[-1]
    if isinstance(end, ev.StepFailed):
        engine.begin()
        engine.abandon(end.error, end.ended)
        return compare_events(expected, said.take())
    _expect_failures(engine, expected)
    try:
        step = engine.step()
    except StepFailedError:
        step = None
    actual = said.take()
    if step is None:
        return compare_events(expected, actual)
    rows = StepRows.read(session, end.step, end.branch, actual)
    logits = comparison.compare_logits(end.step, rows, step.details)
    return compare_events(expected, actual, logits) or logits or rows.compare(actual)


def _expect_failures(engine: Replayable, expected: Sequence[ev.Event]) -> None:
    """Logits processors fail where they did: that one took too long need not happen again."""
    for event in expected:
        if isinstance(event, ev.PluginDisabled) and event.request is not None and event.position is not None:
            engine.plugs.expected[event.plugin, event.request, event.position] = event


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


__all__ = ["RecordTimeline", "Replayable", "Said", "replay"]
