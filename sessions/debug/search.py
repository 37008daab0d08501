"""Back to the last stop that points would have made, and to the last change of a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from engine.debug.bound import Expression
from engine.debug.errors import LacksError
from engine.debug.evaluate import evaluate
from engine.debug.judging import Instant, judge
from engine.debug.names import Needs
from engine.debug.points import Point
from engine.debug.said import Stop, When
from sessions.debug.recorded import Recording
from sessions.debug.steps import steps_for

ORDER: Final[dict[When, int]] = {"planned": 0, "inside": 1, "committed": 2, "failed": 2}
"""The moments of a step, the earliest first."""
AFTERWARDS: Final = 3
_FIRST_CHUNK: Final = 64
_LARGEST_CHUNK: Final = 4_096
_TELL_EVERY: Final = 2_000

Progress = Callable[[str], None]


def quiet(_line: str) -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class Found:
    """The stop, if there is one, and how many values could not be judged, with one reason."""

    stop: Stop | None = None
    unknown: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Search:
    """Looks back from a place in time over `recording`."""

    recording: Recording
    progress: Progress = quiet

    def last_stop(self, points: Sequence[Point], step: int, order: int = ORDER["committed"]) -> Found:
        """The last stop that one of `points` would have made before a moment of `step` (`ORDER`, `AFTERWARDS`).

        As if they had been set before the first step, with the hits that they let pass.
        """
        found = Found()
        for point in points:
            stop = self._last_of(point, step, order, found)
            if stop is not None and (found.stop is None or _place(stop) > _place(found.stop)):
                found.stop = stop
        return found

    def last_change(self, expression: Expression, request: str | None, step: int, order: int) -> Found:
        """The last change of a value before that moment."""
        return self.last_stop([Point(0, "watch", expression, request=request)], step, order)

    def _last_of(self, point: Point, step: int, order: int, found: Found) -> Stop | None:
        if point.moments == ("inside",):
            return None
        earliest = 0 if found.stop is None else found.stop.step
        if point.let_pass:
            return self._counted(point, step, order, found)
        steps = steps_for(point, self.recording.session, self.recording.branch, step)
        if steps is None:
            return self._folded(point, step, order, earliest, found)
        for count, candidate in enumerate(steps, 1):
            if candidate < earliest:
                return None
            self._tell(count, candidate)
            stops = self._stops_in(_fresh(point), candidate, candidate, found)
            if before := [stop for stop in stops if _place(stop) < (step, order)]:
                return before[-1]
        return None

    def _folded(self, point: Point, step: int, order: int, earliest: int, found: Found) -> Stop | None:
        """Look at every step, in growing parts, the latest first."""
        last, size, count = step, _FIRST_CHUNK, 0
        while last >= max(earliest, 1):
            first = max(1, last - size + 1)
            stops = self._stops_in(_fresh(point), first, last, found)
            if before := [stop for stop in stops if _place(stop) < (step, order)]:
                return before[-1]
            count += last - first + 1
            self._tell(count, first)
            last, size = first - 1, min(2 * size, _LARGEST_CHUNK)
        return None

    def _counted(self, point: Point, step: int, order: int, found: Found) -> Stop | None:
        """From the first step on, because hits are let pass."""
        counting = _fresh(point)
        counting.ignore = point.let_pass
        steps = steps_for(point, self.recording.session, self.recording.branch, step)
        if steps is None:
            stops = list(self._stops_in(counting, 1, step, found))
        else:
            every = sorted(steps)
            stops = [stop for each in every for stop in self._stops_in(counting, each, each, found)]
        before = [stop for stop in stops if _place(stop) < (step, order)]
        return before[-1] if before else None

    def _stops_in(self, point: Point, first: int, last: int, found: Found) -> Iterator[Stop]:
        """The stops that `point` makes in some steps, in order."""
        primed = False
        stateless = Needs.STATE not in point.needs and (point.event is not None or _by_token(point))
        walk = self.recording.walk_without_state if stateless else self.recording.walk
        for instant in walk(first, last):
            number = instant.nobody.state.step
            if number < first:
                if not _by_token(point):
                    point.memory.clear()
                    judge([replace(point, hits=0)], instant)
                continue
            if _by_token(point) and not primed:
                self._prime(point, first)
                primed = True
            if instant.when == "planned":
                point.met.clear()
            judged = judge([point], instant)
            found.unknown += judged.unknown
            yield from (stop for _, stop in judged.stops)

    def _prime(self, point: Point, first: int) -> None:
        """A watchpoint on tokens begins with the value of each request's token before this step."""
        if point.why != "watch":
            return
        assert point.expression is not None
        here = self.recording.step(first)
        recording = self.recording
        for chosen, _ in here.tokens:
            point.memory.pop(chosen.request, None)
            row = recording.session.token(chosen.request, chosen.position - 1, recording.branch)
            if row is not None:
                with suppress(LacksError):
                    before = recording.moment(row.chosen_step, chosen.request, chosen.position - 1)
                    point.memory[chosen.request] = evaluate(point.expression, before)

    def _tell(self, count: int, at: int) -> None:
        if count % _TELL_EVERY < _FIRST_CHUNK and count >= _TELL_EVERY:
            self.progress(f"looked at {count:,} steps, back to step {at:,}")


def _fresh(point: Point) -> Point:
    return replace(point, hits=0, ignore=0, memory={}, met=set())


def _by_token(point: Point) -> bool:
    return Needs.TOKEN in point.needs


def _place(stop: Stop) -> tuple[int, int]:
    return stop.step, ORDER[stop.when]


__all__ = ["ORDER", "Found", "Instant", "Search", "quiet"]
