"""Setting and changing points: the same with an engine and over a record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from engine.debug import commands as do
from engine.debug.checker import Known, check, check_condition, stage_place
from engine.debug.errors import DebugError, ExpressionError
from engine.debug.points import Point, PointTable, info_lines
from engine.debug.registry import read_line

T = TypeVar("T")

PointCommand: TypeAlias = (
    do.Break | do.Watch | do.Catch | do.Condition | do.Ignore | do.Delete | do.Enable | do.Commands
)


class Points(Protocol):
    """Whoever keeps points and is told when they change."""

    @property
    def known(self) -> Known: ...

    @property
    def points(self) -> PointTable: ...

    def add(self, point: Point) -> Point: ...

    def changed(self) -> None: ...

    def check_point(self, point: Point) -> None:
        """Raise DebugError for a point that could never be judged."""
        ...


@dataclass(frozen=True, slots=True)
class Setting:
    """Carries out commands about points; each answers with lines."""

    keeper: Points

    def carry_out(self, command: PointCommand) -> tuple[str, ...]:
        """Raises DebugError, and changes nothing, where that is not possible."""
        points = self.keeper.points
        lines: tuple[str, ...]
        match command:
            case do.Break() | do.Watch() | do.Catch():
                return _told(self.keeper.add(self.point(command)))
            case do.Condition(number=number, condition=condition):
                return self._condition(points[number], condition)
            case do.Ignore(number=number, count=count):
                points[number].ignore = points[number].let_pass = count
                lines = (f"the next {count} hits of point {number} are let pass",)
            case do.Delete(numbers=numbers):
                points.delete(numbers)
                lines = (f"deleted {_list(numbers)}",)
            case do.Enable(numbers=numbers, enabled=enabled):
                points.enable(numbers, enabled)
                lines = (f"{'enabled' if enabled else 'disabled'} {_list(numbers)}",)
            case do.Commands():
                lines = self._commands(command)
        self.keeper.changed()
        return lines

    def point(self, command: do.Break | do.Watch | do.Catch) -> Point:
        """The point that a command sets, not numbered yet."""
        match command:
            case do.Watch(expression=source, request=request):
                return Point(0, "watch", self._checked(check, source), request=request)
            case do.Catch(event=event, request=request):
                return Point(0, "catch", event=event, request=request)
            case do.Break(condition=condition, place=place, temporary=temporary):
                expression = None if condition is None else self._checked(check_condition, condition)
                where = None if place is None else self._checked(stage_place, place)
                return Point(0, "break", expression, where, temporary=temporary)

    def _condition(self, point: Point, source: do.Source | None) -> tuple[str, ...]:
        if point.why != "break":
            raise DebugError(f"point {point.number} is no breakpoint: only those have conditions")
        expression = None if source is None else self._checked(check_condition, source)
        changed = Point(point.number, "break", expression, point.place)
        self.keeper.check_point(changed)
        point.expression = expression
        self.keeper.changed()
        return _told(point)

    def _commands(self, command: do.Commands) -> tuple[str, ...]:
        points = self.keeper.points
        point = points.newest() if command.number is None else points[command.number]
        for line in command.lines:
            if read_line(line).where in ("past", "points") or line.split()[0] == "quit":
                raise DebugError(f"{line!r} cannot be done at a stop: commands look, change or run")
        point.commands = command.lines
        count = len(command.lines)
        return (f"{count} command{'s' if count != 1 else ''} at each stop of point {point.number}",)

    def _checked(self, check_: Callable[[str, Known], T], source: do.Source) -> T:
        return checked(check_, source, self.keeper.known)


def checked(check_: Callable[[str, Known], T], source: do.Source, known: Known) -> T:
    """Check an expression of a line; what is wrong is told by its column in the line."""
    try:
        return check_(source.text, known)
    except ExpressionError as error:
        raise error.moved(source.at) from None


def _told(point: Point) -> tuple[str, ...]:
    return (info_lines([point.info()])[0],)


def _list(numbers: tuple[int, ...]) -> str:
    if not numbers:
        return "all points"
    return f"point{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
