"""The engine's books: its state, its tokens, and everything that changes them, said to the sink."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine import events as ev
from engine.execution import Forward, Job
from engine.planning import Plan
from engine.sink import Sink
from engine.state import State
from engine.tokens import TokenLog

Emit = Callable[[ev.Event], None]  # applies the event at once, and keeps it for the sink


@dataclass(slots=True)
class Begun:
    """A step that is planned and recorded, and not computed, or computed in part (`forward`)."""

    plan: Plan
    job: Job
    started_ns: int
    plan_ns: int
    forward: Forward | None = None


class Books:
    """Bookkeeping that changes by events only, each applied and said."""

    def __init__(self, state: State, sink: Sink | None) -> None:
        self.state = state
        self.tokens = TokenLog()
        self.begun: Begun | None = None
        self.listener: Callable[[Sequence[ev.Event]], None] | None = None
        """Hears of plans, and of what is said between steps, as the sink does."""
        self._sink = sink

    @property
    def busy(self) -> bool:
        """Whether any request is unfinished."""
        return bool(self.state.requests)

    def _between_steps(self) -> None:
        """Raise RuntimeError while a step is under way: nothing else may happen then."""
        if self.begun is not None:
            step = self.begun.plan.step
            raise RuntimeError(f"step {step} is under way: finish or abandon it first")

    def _say(self, kind: Callable[..., ev.Event], **fields: object) -> None:
        """Apply and record one event that happens between steps."""
        event = kind(**{"branch": self.state.branch, "step": self.state.step} | fields)
        self._apply(event)
        self._record([event])

    def _event(self, kind: Callable[..., ev.Event], **fields: object) -> ev.Event:
        return kind(branch=self.state.branch, step=self.state.step, **fields)

    def _emitter(self, said: list[ev.Event]) -> Emit:
        def emit(event: ev.Event) -> None:
            self._apply(event)
            said.append(event)

        return emit

    def _apply(self, event: ev.Event) -> None:
        self.state.apply(event)
        self.tokens.apply(event)
        if isinstance(event, ev.Finished):
            self._forget(event.request)
        elif isinstance(event, ev.StepFailed):
            for request in event.ended:
                self._forget(request)

    def _forget(self, request: str) -> None:
        """`request` is over, or the engine went back to before it was: drop what was remembered for it."""
        raise NotImplementedError

    def _record(self, events: Sequence[ev.Event]) -> None:
        if self.listener is not None:
            self.listener(events)
        if self._sink is not None and events:
            self._sink.record(events)
