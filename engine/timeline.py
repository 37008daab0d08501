"""What a run was like at an earlier step: needed to take the engine back there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine import events as ev
from engine.params import EngineOptions
from engine.state import State
from engine.tokens import TokenLog


@dataclass(frozen=True, slots=True)
class Past:
    """The end of a step, with what was said before the next began. The caller may change both."""

    state: State
    tokens: TokenLog


class Timeline(Protocol):
    """Whoever keeps what an engine said."""

    def at(self, branch: int, step: int) -> Past:
        """How things stood after `step` of `branch`. LookupError where there is no such step."""
        ...

    def state_at(self, branch: int, step: int) -> State:
        """The bookkeeping alone. LookupError where there is no such step."""
        ...

    def last_branch(self) -> int:
        """The branch that was opened last."""
        ...

    def events(self, branch: int, after: int, upto: int) -> Iterable[ev.Event]:
        """The events of steps `after` + 1 to `upto` on the way to `branch`, and those said after each of them."""
        ...

    def close(self) -> None:
        """Nobody will ask any more."""
        ...


class MemoryTimeline:
    """A sink that keeps all events in memory: for engines that are not recorded, and for tests."""

    def __init__(self, num_blocks: int, options: EngineOptions) -> None:
        self._num_blocks = num_blocks
        self._options = options
        self._said: list[ev.Event] = []

    def record(self, events: Sequence[ev.Event]) -> None:
        self._said.extend(events)

    def commit(self, events: Sequence[ev.Event], _details: object) -> None:
        self._said.extend(events)

    def capture(self, _tensors: object) -> None:
        """Tensors are not kept."""

    def close(self) -> None:
        """Nothing to close."""

    def at(self, branch: int, step: int) -> Past:
        past = Past(State.at_start(self._num_blocks, self._options), TokenLog())
        for event in self._way(branch, step):
            past.state.apply(event)
            past.tokens.apply(event)
        if past.state.step != step:
            raise LookupError(f"there is no step {step} in branch {branch}")
        past.state.roll_back()
        return past

    def state_at(self, branch: int, step: int) -> State:
        return self.at(branch, step).state

    def last_branch(self) -> int:
        return max((event.branch for event in self._said), default=0)

    def events(self, branch: int, after: int, upto: int) -> Iterator[ev.Event]:
        return (event for event in self._way(branch, upto) if event.step > after)

    def _way(self, branch: int, upto: int) -> Iterator[ev.Event]:
        """The events that lead to step `upto` of `branch`: its parents' before it parted, then its own."""
        parted = next(
            (e for e in self._said if isinstance(e, ev.Branched) and e.branch == branch), None
        )  # fmt: skip
        if parted is None and branch:
            raise LookupError(f"there is no branch {branch}")
        if parted is not None:
            yield from self._way(parted.parent, min(parted.step, upto))
        own = (event for event in self._said if event.branch == branch and event.step <= upto)
        yield from own
