"""Carries out the commands that are for an engine: points, looking, running and changing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

from engine.debug import commands as do
from engine.debug.bound import Expression
from engine.debug.changing import Changing, Means
from engine.debug.checker import check, check_condition, stage_place
from engine.debug.debugger import Debugger
from engine.debug.dump import dump_lines, stage_values
from engine.debug.errors import DebugError
from engine.debug.evaluate import evaluate, named_values
from engine.debug.judging import named
from engine.debug.looking import info
from engine.debug.moment import Moment
from engine.debug.names import Needs
from engine.debug.points import Point
from engine.debug.registry import read_line
from engine.debug.said import Named, Shown, Stop, place_text
from engine.debug.setting import PointCommand, Setting, checked
from engine.debug.values import plain

Whose: TypeAlias = do.Whose


@dataclass(frozen=True, slots=True)
class Going:
    """The command lets the engine run: for `steps` more, or until something stops it."""

    steps: float


class AssertionFailedError(DebugError):
    """`assert` of something that does not hold."""

    def __init__(self, message: str, values: tuple[Named, ...]) -> None:
        super().__init__(message)
        self.values = values


@dataclass(slots=True)
class Console:
    """Commands in, answers out. What cannot be done is an error of one line (ValueError, RuntimeError)."""

    debugger: Debugger
    means: Means
    selected: Whose | None = None
    _setting: Setting = field(init=False)

    def __post_init__(self) -> None:
        self._setting = Setting(self.debugger)

    def line(self, text: str) -> Shown | Going:
        """Carry out a line."""
        return self.carry_out(read_line(text).command)

    def carry_out(self, command: do.Command) -> Shown | Going:
        """Carry out a command that is for the engine."""
        if isinstance(command, PointCommand):
            return Shown(self._setting.carry_out(command))
        match command:
            case do.Info() | do.Print() | do.Examine() | do.Assert():
                return self._look(command)
            case do.Next() | do.Continue() | do.Until() | do.Advance() | do.Finish():
                return self._run(command)
            case do.Into(count=count):
                return self._into(count)
            case do.Abandon():
                return self._abandon()
            case do.Select(whose=whose):
                if whose.request not in self.debugger.engine.tokens:
                    raise DebugError(f"there is no request {whose.request}")
                self.selected = whose
                return Shown((f"looking at {_name(whose)}",), select=(whose.request, whose.position))
            case (
                do.Submit() | do.Fork() | do.AbortRequest() | do.Preempt() | do.Evict() | do.SetPolicy()
                | do.Rewind()
            ):  # fmt: skip
                return Changing(self.debugger, self.means, self.selected).carry_out(command)
            case _:
                raise DebugError("this is about the record: no engine is needed for it")

    def stopped(self, stop: Stop) -> None:
        """A stop of a request's is what is looked at from then on."""
        if stop.request is not None:
            self.selected = Whose(stop.request, stop.position)

    # -- looking -------------------------------------------------------------------------------------

    def _look(self, command: do.Info | do.Print | do.Examine | do.Assert) -> Shown:
        engine = self.debugger.engine
        match command:
            case do.Info(topic=topic):
                points = self.debugger.points.infos
                text_of = self.debugger.text_of
                return Shown(info(topic, engine.state, engine.tokens, text_of, points, engine.options))
            case do.Print(expression=source):
                return self._print(source)
            case do.Examine():
                return self._examine(command)
            case do.Assert(condition=source):
                return self._assert(source)

    def _print(self, source: do.Source) -> Shown:
        expression = checked(check, source, self.debugger.known)
        value = named(expression.source, evaluate(expression, self._moment(expression)))
        return Shown((f"{value.name} = {value.text}",), (value,))

    def _moment(self, expression: Expression) -> Moment:
        request, position = self._looked_at()
        return self.debugger.moment(request, position if Needs.TOKEN in expression.needs else None)

    def _looked_at(self) -> tuple[str | None, int | None]:
        if self.selected is not None:
            return self.selected.request, self.selected.position
        live = list(self.debugger.engine.state.requests)
        return (live[0] if len(live) == 1 else None), None

    def _examine(self, command: do.Examine) -> Shown:
        place = checked(stage_place, command.place, self.debugger.known)
        begun = self.debugger.engine.begun
        request = command.request or self._looked_at()[0]
        if request is None:
            batch = begun.plan.batch if begun is not None else ()
            request = batch[0].request if batch else ""
        row, values = stage_values(
            None if begun is None else begun.forward, place, request, command.row, command.count
        )
        return Shown(dump_lines(place_text(*place), request, row, values, command.format))

    def _assert(self, source: do.Source) -> Shown:
        condition = checked(check_condition, source, self.debugger.known)
        moment = self._moment(condition)
        if plain(evaluate(condition, moment)) is True:
            return Shown()
        values = tuple(named(name, value) for name, value in named_values(condition, moment))
        state = self.debugger.engine.state
        told = ", ".join(f"{each.name} {each.text}" for each in values)
        where = f"step {state.step}"
        if moment.request is not None:
            where += f", request {moment.request}"
        if moment.chosen is not None:
            where += f" position {moment.chosen.position}"
        raise AssertionFailedError(f"assertion failed, {where}: {condition.source}  ({told})", values)

    # -- running -------------------------------------------------------------------------------------

    def _run(self, command: do.Next | do.Continue | do.Until | do.Advance | do.Finish) -> Going:
        match command:
            case do.Next(count=count):
                return Going(count)
            case do.Until():
                self._until(command)
            case do.Advance(position=position):
                self._advance(position)
            case do.Finish():
                begun = self.debugger.engine.begun
                if begun is not None:
                    return Going(1)
                request = self._one_live("finish")
                self.debugger.add_own(Point(0, "finish", event="finish", request=request))
        return Going(math.inf)

    def _until(self, command: do.Until) -> None:
        if command.step is not None:
            now = self.debugger.engine.state.step
            if command.step <= now:
                raise DebugError(f"step {command.step} is not ahead: the engine stands at step {now}")
            reached = check_condition(f"step >= {command.step}", self.debugger.known)
            self.debugger.add_own(Point(0, "until", reached, only="committed"))
        elif command.place is not None:
            self.debugger.add_own(
                Point(0, "until", place=checked(stage_place, command.place, self.debugger.known))
            )
        elif command.condition is not None:
            condition = checked(check_condition, command.condition, self.debugger.known)
            self.debugger.add_own(Point(0, "until", condition))

    def _advance(self, position: int | None) -> None:
        request = self._one_live("advance")
        more = "" if position is None else f" and pos >= {position}"
        tokens = self.debugger.engine.state.requests[request].num_tokens
        if position is not None and position < tokens:
            raise DebugError(f"position {position} is not ahead: request {request} has {tokens} tokens")
        reached = check_condition(f'req == "{request}"{more}', self.debugger.known)
        self.debugger.add_own(Point(0, "advance", reached, only="committed"))

    def _one_live(self, doing: str) -> str:
        request, _ = self._looked_at()
        live = self.debugger.engine.state.requests
        if request is None:
            raise DebugError(
                f"{doing} goes on with a request: select one of {', '.join(live) or 'none that is live'}"
            )
        if request not in live:
            raise DebugError(f"request {request} is not live: it goes on no more")
        return request

    def _into(self, count: int) -> Shown:
        stop = self.debugger.into(count)
        if stop is not None:
            self.stopped(stop)
            return Shown(stop=stop)
        engine = self.debugger.engine
        return Shown((self.debugger.standing if engine.begun else f"step {engine.state.step} is committed",))

    def _abandon(self) -> Shown:
        engine = self.debugger.engine
        if engine.begun is None:
            raise DebugError("no step is under way: there is nothing to abandon")
        step = engine.begun.plan.step
        self.debugger.abandon()
        return Shown((f"step {step} was given up and rolled back; its requests wait again",))


def _name(whose: Whose) -> str:
    return f"request {whose.request}" + ("" if whose.position is None else f" position {whose.position}")
