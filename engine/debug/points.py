"""Breakpoints, watchpoints and catchpoints: what each waits for, and how often it was met."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from engine.debug.bound import Expression, Place
from engine.debug.errors import DebugError
from engine.debug.names import Needs
from engine.debug.said import Caught, PointInfo, When, Why, place_text
from engine.debug.values import Value


@dataclass(slots=True, eq=False)
class Point:
    """Something that halts a run; `expression` is a condition, or what a watchpoint watches.

    `memory` is a watched value by request (None: of none), `met` the requests it was met for in this step.
    """

    number: int
    why: Why
    expression: Expression | None = None
    place: Place | None = None
    event: Caught | None = None
    request: str | None = None
    temporary: bool = False
    only: When | None = None
    enabled: bool = True
    ignore: int = 0
    let_pass: int = 0  # how many hits `ignore` was set to
    hits: int = 0
    commands: tuple[str, ...] = ()
    memory: dict[str | None, Value] = field(default_factory=dict)
    met: set[str | None] = field(default_factory=set)

    @property
    def needs(self) -> Needs:
        return Needs.NOTHING if self.expression is None else self.expression.needs

    @property
    def moments(self) -> tuple[When, ...]:
        """When it can be judged."""
        if self.only is not None:
            return (self.only,)
        if self.event is not None and self.event != "nan":
            return ("planned", "committed")
        if self.place is not None or self.event == "nan":
            return ("inside",)
        if Needs.TOKEN in self.needs:
            return ("committed",)
        if Needs.STAGE in self.needs:
            return ("inside",)
        return ("planned",) if self.expression is None else ("planned", "committed")

    @property
    def watched(self) -> frozenset[Place]:
        """The stages it has to be told of."""
        own = frozenset() if self.expression is None else self.expression.places
        return own if self.place is None else own | {self.place}

    @property
    def every_stage(self) -> bool:
        return self.event == "nan" or (self.expression is not None and self.expression.any_stage)

    def concerns(self, request: str | None) -> bool:
        return self.request is None or self.request == request

    def hit(self) -> bool:
        """Count a hit; whether it stops the run."""
        self.hits += 1
        if self.ignore:
            self.ignore -= 1
            return False
        return True

    @property
    def _kind(self) -> Literal["break", "watch", "catch"]:
        return "catch" if self.event else "watch" if self.why == "watch" else "break"

    def info(self) -> PointInfo:
        return PointInfo(
            number=self.number, kind=self._kind, temporary=self.temporary, enabled=self.enabled,
            expression="" if self.expression is None else self.expression.source,
            layer=None if self.place is None else self.place[0],
            stage=None if self.place is None else self.place[1], event=self.event, request=self.request,
            ignore=self.ignore, let_pass=self.let_pass, hits=self.hits, commands=self.commands,
        )  # fmt: skip


class PointTable:
    """The points that there are, by number; numbers are not used twice."""

    def __init__(self) -> None:
        self._points: dict[int, Point] = {}
        self._own: list[Point] = []  # of commands that run up to somewhere
        self._checks: list[Point] = []  # conditions that must hold throughout
        self._next = 1

    def __iter__(self) -> Iterator[Point]:
        yield from self._points.values()

    def __len__(self) -> int:
        return len(self._points)

    def __getitem__(self, number: int) -> Point:
        if number not in self._points:
            there = ", ".join(map(str, self._points)) or "none"
            raise DebugError(f"there is no point {number}: there are {there}")
        return self._points[number]

    @property
    def active(self) -> list[Point]:
        """Those that can stop a run, in order of their numbers; commands' own come last."""
        return [point for point in (*self._points.values(), *self._own, *self._checks) if point.enabled]

    @property
    def infos(self) -> tuple[PointInfo, ...]:
        return tuple(point.info() for point in self)

    def newest(self) -> Point:
        if not self._points:
            raise DebugError("there is no point yet: set one with break, watch or catch")
        return self._points[max(self._points)]

    def add(self, point: Point) -> Point:
        """Take `point` in, under the next number."""
        point.number = self._next
        self._next += 1
        self._points[point.number] = point
        return point

    def add_own(self, point: Point) -> None:
        """A point that is gone as soon as anything stops the run."""
        self._own.append(point)

    def add_check(self, point: Point) -> None:
        """A condition that must hold throughout; it is told of once where it does not."""
        self._checks.append(point)

    def failed(self, point: Point) -> None:
        """The check `point` did not hold."""
        self._checks.remove(point)

    def stopped_at(self, point: Point) -> None:
        """`point` has stopped the run."""
        self._own.clear()
        if point.temporary and point.number in self._points:
            del self._points[point.number]

    def clear_own(self) -> None:
        self._own.clear()

    def delete(self, numbers: Iterable[int]) -> None:
        """Delete points, all where no number is given. DebugError, deleting none, when one is not there."""
        chosen = [self[number].number for number in numbers] or list(self._points)
        for number in chosen:
            self._points.pop(number, None)

    def enable(self, numbers: Iterable[int], enabled: bool) -> None:
        for point in [self[number] for number in numbers] or list(self):
            point.enabled = enabled


def info_lines(infos: Iterable[PointInfo]) -> list[str]:
    """The points as `info breakpoints` shows them."""
    lines = []
    for info in infos:
        kind = {"break": "breakpoint", "watch": "watchpoint", "catch": "catchpoint"}[info.kind]
        off = "" if info.enabled else " disabled"
        temporary = " once" if info.temporary else ""
        lines.append(f"{info.number:<3} {kind:<10} {_waits_for(info)}{temporary}{off}")
        if info.hits or info.ignore:
            ignored = f", the next {info.ignore} are let pass" if info.ignore else ""
            lines.append(f"    hit {info.hits} time{'s' if info.hits != 1 else ''}{ignored}")
        lines.extend(f"    : {command}" for command in info.commands)
    return lines or ["no points are set: break, watch and catch set one"]


def _waits_for(info: PointInfo) -> str:
    of = f" req {info.request}" if info.request is not None else ""
    if info.event is not None:
        return info.event + of
    at = "" if info.stage is None else f"at {place_text(info.layer, info.stage)} "
    condition = info.expression if info.kind == "watch" else f"if {info.expression}" if info.expression else ""
    return f"{at}{condition}{of}".strip() or "every step"
