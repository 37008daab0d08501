"""Which points stop a run at one moment of it: the same for a run that goes on and for a recorded one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from engine import events as ev
from engine.debug.catching import is_caught, requests_of
from engine.debug.errors import LacksError
from engine.debug.evaluate import evaluate, holds, named_values
from engine.debug.moment import Moment
from engine.debug.names import Needs
from engine.debug.points import Point
from engine.debug.said import Named, Stop, When
from engine.debug.values import Beyond, Value, plain, same, show_value

Sentence = Callable[[ev.Event], str]


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment and all who can be looked at in it.

    `moments` are by request (None: nobody is looked at), `tokens` one for each token chosen in the step, in
    order, `happened` what was said since the instant before. `place` is where the forward pass stands.
    """

    when: When
    nobody: Moment
    moments: Callable[[], Iterable[Moment]]  # one for each request that is live, or in the pass
    tokens: Callable[[], Iterable[Moment]]
    happened: Sequence[ev.Event]
    sentence: Sentence
    place: tuple[int, str] | None = None
    ready: Callable[[Point, str], bool] = lambda _point, _request: True
    strict: bool = True  # what cannot be judged stops the run

    def concerns(self, point: Point) -> bool:
        """Whether `point` is judged now."""
        return ("committed" if self.when == "failed" else self.when) in point.moments


@dataclass(slots=True)
class Judged:
    """What came of judging points: `stops` in order, and how many values could not be judged, and why."""

    stops: list[tuple[Point, Stop]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def judge(points: Iterable[Point], instant: Instant) -> Judged:
    """Count the hits of `points` at `instant`; the stops are of those that are not to be let pass."""
    judged = Judged()
    for point in points:
        if instant.concerns(point):
            found = [stop for stop in _hits(point, instant, judged) if point.hit()]
            if found:
                first = _counted(found[0], point, len(found) - 1)
                judged.stops.append((point, first))
    return judged


def _counted(stop: Stop, point: Point, more: int) -> Stop:
    return msgspec.structs.replace(stop, hits=point.hits, more=more)


def _hits(point: Point, instant: Instant, judged: Judged) -> Iterator[Stop]:
    if point.event is not None and point.event != "nan":
        yield from _caught(point, instant)
    elif point.place is not None and point.place != instant.place:
        return
    else:
        for moment in _looked_at(point, instant):
            if not point.concerns(moment.request):
                continue
            try:
                stop = _judge(point, instant, moment)
            except LacksError as error:
                judged.unknown.append(str(error))
                if instant.strict:
                    yield _stop(point, instant, moment, happened=(f"cannot be judged: {error}",))
                continue
            if stop is not None:
                yield stop


def _looked_at(point: Point, instant: Instant) -> Iterable[Moment]:
    needs = point.needs
    if point.event == "nan":
        return instant.moments()
    if Needs.TOKEN in needs or (point.only == "committed" and Needs.REQUEST in needs):
        return instant.tokens()
    if Needs.REQUEST in needs:
        return (moment for moment in instant.moments() if instant.ready(point, moment.request or ""))
    return (instant.nobody,)


def _judge(point: Point, instant: Instant, moment: Moment) -> Stop | None:
    if point.why == "watch":
        return _changed(point, instant, moment)
    if point.event == "nan":
        if plain(moment.stages.any_nan(moment.request or "")) is not True or not _first(point, moment):
            return None
        return _stop(point, instant, moment, happened=("a value is not a number",))
    if point.expression is None:
        return _stop(point, instant, moment)
    if holds(point.expression, moment) is (point.why == "assert"):
        return None
    if Needs.TOKEN not in point.needs and point.place is None and not _first(point, moment):
        return None
    return _stop(point, instant, moment, values=values_of(point, moment))


def _first(point: Point, moment: Moment) -> bool:
    """Whether it was not met yet in this step: a state lasts longer than a moment."""
    key = moment.request if Needs.REQUEST in point.needs or point.event == "nan" else None
    if key in point.met:
        return False
    point.met.add(key)
    return True


def _changed(point: Point, instant: Instant, moment: Moment) -> Stop | None:
    assert point.expression is not None
    key = moment.request if Needs.REQUEST in point.needs or Needs.TOKEN in point.needs else None
    now = evaluate(point.expression, moment)
    known, before = key in point.memory, point.memory.get(key)
    point.memory[key] = now
    if not known or same(before, now):
        return None
    return _stop(point, instant, moment, old=show_value(before), new=show_value(now))


def values_of(point: Point, moment: Moment) -> tuple[Named, ...]:
    """The values of the names in a point's expression."""
    assert point.expression is not None
    return tuple(named(name, value) for name, value in named_values(point.expression, moment))


def named(name: str, value: Value) -> Named:
    """A value as it is answered; one of which only bounds are known is text alone."""
    return Named(name, None if isinstance(value, Beyond) else value, show_value(value))


def _caught(point: Point, instant: Instant) -> Iterator[Stop]:
    assert point.event is not None
    for event in instant.happened:
        if not is_caught(point.event, event):
            continue
        requests = requests_of(event, instant.nobody.batch)
        if point.request is None or point.request in requests:
            moment = instant.nobody
            request = point.request or (requests[0] if len(requests) == 1 and requests[0] else None)
            yield _stop(point, instant, moment, happened=(instant.sentence(event),), request=request)


def _stop(
    point: Point, instant: Instant, moment: Moment, *, happened: tuple[str, ...] = (),
    values: tuple[Named, ...] = (), old: str | None = None, new: str | None = None, request: str | None = None,
) -> Stop:  # fmt: skip
    layer, stage = instant.place or (None, None)
    chosen = moment.chosen
    return Stop(
        why=point.why, when=instant.when, branch=moment.state.branch, step=moment.state.step,
        point=point.number, temporary=point.temporary,
        expression="" if point.expression is None else point.expression.source,
        request=request or moment.request, position=None if chosen is None else chosen.position,
        layer=layer, stage=stage, values=values, old=old, new=new, happened=happened,
    )  # fmt: skip
