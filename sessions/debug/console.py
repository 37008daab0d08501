"""Carries out the debugger's commands over a record: looking, points, and moving through time."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field

from engine.debug import commands as do
from engine.debug.bound import BlockFact, Expression
from engine.debug.checker import Known, check, check_condition
from engine.debug.console import AssertionFailedError
from engine.debug.errors import DebugError, LacksError
from engine.debug.evaluate import evaluate, named_values
from engine.debug.judging import named
from engine.debug.looking import info
from engine.debug.moment import Moment
from engine.debug.names import Needs
from engine.debug.points import Point, PointTable
from engine.debug.registry import help_lines, read_line
from engine.debug.said import PointInfo, Shown, Stop, When, sentence
from engine.debug.setting import PointCommand, Setting, checked
from engine.debug.values import plain
from engine.ids import request_of
from engine.kv.blocks import NO_WRITER
from sessions.debug.recorded import Recording, known_of
from sessions.debug.search import AFTERWARDS, ORDER, Progress, Search, quiet
from sessions.reader import Session
from sessions.records import Branch

NO_ENGINE = "this needs the engine: load the model behind the recording, and go on from here"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where somebody looks: the end of `step` of `branch`, and a request and a token's position there."""

    branch: int
    step: int
    request: str | None = None
    position: int | None = None


@dataclass(slots=True)
class PointsOnRecord:
    """Points that no engine knows of: they are for going back."""

    known: Known
    points: PointTable = field(default_factory=PointTable)

    def add(self, point: Point) -> Point:
        self.check_point(point)
        return self.points.add(point)

    def changed(self) -> None:
        """Nobody runs."""

    def check_point(self, point: Point) -> None:
        if point.place is not None and Needs.TOKEN in point.needs:
            raise DebugError("the token is not chosen yet at a stage: leave the stage out, or the token's names")


class RecordConsole:
    """Commands in, answers out; the caller moves its cursor where an answer says so (`Shown.goto`)."""

    def __init__(
        self, session: Session, bookmarks: MutableMapping[str, tuple[int, int]] | None = None,
        progress: Progress = quiet,
    ) -> None:  # fmt: skip
        """`bookmarks` are branch and step by name."""
        self.session = session
        self.bookmarks = {} if bookmarks is None else bookmarks
        self.known = known_of(session)
        self.keeper = PointsOnRecord(self.known)
        self._setting = Setting(self.keeper)
        self._progress = progress
        self._stopped: tuple[int, int, When] | None = None  # where reverse-continue or last came to
        self._changed: str | None = None  # what `last` was asked about, if it came there

    def line(self, text: str, cursor: Cursor, points: Sequence[PointInfo] | None = None) -> Shown:
        """Carry out a line. Raises DebugError or SessionError, in one line."""
        return self.carry_out(read_line(text).command, cursor, points)

    def carry_out(self, command: do.Command, cursor: Cursor, points: Sequence[PointInfo] | None = None) -> Shown:
        """Carry out a command at `cursor`; `points` are the engine's, where there is one that keeps them."""
        if isinstance(command, PointCommand):
            return Shown(self._setting.carry_out(command))
        match command:
            case do.Info(topic=topic):
                state = self.session.state_at(cursor.step, cursor.branch)
                infos = self.keeper.points.infos if points is None else points
                tokens = _Tokens(self.session, cursor.branch)
                text_of, options = self.session.token_text, self.session.header.options
                return Shown(info(topic, state, tokens, text_of, infos, options))
            case do.Print(expression=source):
                expression = checked(check, source, self.known)
                value = named(expression.source, evaluate(expression, self._moment(cursor, expression)))
                return Shown((f"{value.name} = {value.text}",), (value,))
            case do.Assert(condition=source):
                return self._assert(checked(check_condition, source, self.known), cursor)
            case do.Examine():
                raise LacksError(f"values of stages are not in the record: {NO_ENGINE}")
            case do.Goto() | do.ReverseStep():
                return self._go(command, cursor)
            case do.LookBranch(branch=branch):
                return self._look_at(branch, cursor)
            case do.ReverseContinue():
                return self._reverse_continue(cursor, self.points(points))
            case do.Last(expression=source):
                return self._last(checked(check, source, self.known), cursor)
            case do.Bookmark(name=name):
                return self._bookmark(name, cursor)
            case do.Bookmarks():
                return self._list_bookmarks()
            case do.Help(about=about):
                return Shown(help_lines(about))
            case do.Select(whose=whose):
                return Shown(select=(whose.request, whose.position))
            case _:
                raise DebugError(NO_ENGINE)

    def points(self, infos: Sequence[PointInfo] | None) -> list[Point]:
        """The points that can stop a run: the engine's, or those that are kept here."""
        if infos is None:
            return [point for point in self.keeper.points if point.enabled]
        return [_point_of(info, self.known) for info in infos if info.enabled]

    # -- looking -------------------------------------------------------------------------------------

    def _moment(self, cursor: Cursor, expression: Expression) -> Moment:
        recording = Recording(self.session, cursor.branch)
        request = cursor.request
        if request is None:
            live = list(self.session.state_at(cursor.step, cursor.branch).requests)
            request = live[0] if len(live) == 1 else None
        position = cursor.position if Needs.TOKEN in expression.needs else None
        return recording.moment(cursor.step, request, position)

    def _assert(self, condition: Expression, cursor: Cursor) -> Shown:
        moment = self._moment(cursor, condition)
        if plain(evaluate(condition, moment)) is True:
            return Shown()
        values = tuple(named(name, value) for name, value in named_values(condition, moment))
        told = ", ".join(f"{each.name} {each.text}" for each in values)
        raise AssertionFailedError(f"assertion failed, step {cursor.step}: {condition.source}  ({told})", values)

    # -- time ----------------------------------------------------------------------------------------

    def _go(self, command: do.Goto | do.ReverseStep, cursor: Cursor) -> Shown:
        branch, end = cursor.branch, self.session.last_step(cursor.branch)
        match command:
            case do.ReverseStep(count=count):
                if cursor.step == 0:
                    raise DebugError("this is the beginning: there is no step before")
                step = max(0, cursor.step - count)
            case do.Goto(name="start"):
                step = 0
            case do.Goto(name="end"):
                step = end
            case do.Goto(name=str(name)):
                branch, step = self._place_of(name)
            case do.Goto(step=given):
                assert given is not None
                step = given
                if step > end:
                    raise DebugError(f"there is no step {step}: the branch ends at step {end}")
        return Shown((f"step {step} of {self.session.last_step(branch)}",), goto=(branch, step))

    def _look_at(self, branch: int | None, cursor: Cursor) -> Shown:
        rows = {row.branch: row for row in self.session.branches}
        if branch is None:
            return Shown(tuple(self._branch_line(row) for row in rows.values()))
        if branch not in rows:
            raise DebugError(f"there is no branch {branch}: there are {', '.join(map(str, rows))}")
        end = self.session.last_step(branch)
        step = min(cursor.step, end)
        return Shown((f"branch {branch}, step {step} of {end}",), goto=(branch, step))

    def _branch_line(self, row: Branch) -> str:
        after = f"after step {row.parent_step} of branch {row.parent}"
        begins = "from the start" if row.parent is None else after
        return f"branch {row.branch}: begins {begins}, to step {self.session.last_step(row.branch)}"

    def _place_of(self, name: str) -> tuple[int, int]:
        if name not in self.bookmarks:
            raise DebugError(f"there is no bookmark {name!r}: there are {', '.join(self.bookmarks) or 'none'}")
        return self.bookmarks[name]

    def _bookmark(self, name: str | None, cursor: Cursor) -> Shown:
        name = name or next(f"m{n}" for n in range(1, len(self.bookmarks) + 2) if f"m{n}" not in self.bookmarks)
        self.bookmarks[name] = (cursor.branch, cursor.step)
        return Shown(
            (f"{name} is step {cursor.step}" + (f" of branch {cursor.branch}" if cursor.branch else ""),)
        )

    def _list_bookmarks(self) -> Shown:
        lines = [f"{name}  step {step} of branch {branch}" for name, (branch, step) in self.bookmarks.items()]
        return Shown(tuple(lines) or ("there are no bookmarks",))

    # -- back ----------------------------------------------------------------------------------------

    def _stands(self, cursor: Cursor) -> When | None:
        """The moment of the cursor's step that the last search came to."""
        known = self._stopped
        return known[2] if known is not None and known[:2] == (cursor.branch, cursor.step) else None

    def _search(self, cursor: Cursor) -> Search:
        return Search(Recording(self.session, cursor.branch), self._progress)

    def _reverse_continue(self, cursor: Cursor, points: list[Point]) -> Shown:
        if not points:
            raise DebugError("no point is set: break, watch and catch set one")
        inside = [point for point in points if point.moments == ("inside",)]
        lines = [
            f"point {point.number} is judged inside forward passes, which the record does not keep:"
            " rewind, then continue"
            for point in inside
        ]
        if len(inside) == len(points):
            return Shown(tuple(lines))  # whether they would have stopped is not known, so nobody moves
        found = self._search(cursor).last_stop(points, cursor.step, ORDER[self._stands(cursor) or "committed"])
        lines += _unknown(found.unknown)
        if found.stop is None:
            self._stopped = None
            other = "other " if inside else ""
            lines.append(f"no {other}point would have stopped before: this is the beginning")
            return Shown(tuple(lines), goto=(cursor.branch, 0))
        stop = found.stop
        self._stopped, self._changed = (cursor.branch, stop.step, stop.when), None
        select = None if stop.request is None else (stop.request, stop.position)
        return Shown((sentence(stop), *lines), stop=stop, goto=(cursor.branch, stop.step), select=select)

    def _last(self, expression: Expression, cursor: Cursor) -> Shown:
        if Needs.STAGE in expression.needs:
            raise LacksError(f"stages are not in the record: {NO_ENGINE}")
        whose = Needs.TOKEN in expression.needs or Needs.REQUEST in expression.needs
        request = cursor.request if whose else None
        stands, again = self._stands(cursor), self._changed == expression.source
        order = AFTERWARDS if stands is None else ORDER[stands] if again else ORDER[stands] + 1
        found = self._search(cursor).last_change(expression, request, cursor.step, order)
        blocks = [leaf for _, leaf in expression.names if isinstance(leaf, BlockFact)]
        written = [line for leaf in blocks for line in self._written(leaf, cursor)]
        if found.stop is None:
            lines = [f"{expression.source} did not change before", *_unknown(found.unknown), *written]
            return Shown(tuple(dict.fromkeys(lines)))
        stop = found.stop
        self._stopped, self._changed = (cursor.branch, stop.step, stop.when), expression.source
        lines = [_change(stop), *_unknown(found.unknown), *written]
        select = None if stop.request is None else (stop.request, stop.position)
        return Shown(tuple(dict.fromkeys(lines)), stop=stop, goto=(cursor.branch, stop.step), select=select)

    def _written(self, leaf: BlockFact, cursor: Cursor) -> Iterable[str]:
        """Who wrote a block last, up to the cursor."""
        blocks = self.session.state_at(cursor.step, cursor.branch).blocks
        block, code = leaf.block, blocks.writer[leaf.block]
        if code == NO_WRITER or not blocks.fill[block]:
            yield f"block {block} holds nothing"
            return
        writer = request_of(code)
        position = blocks.index[block] * blocks.block_size + blocks.fill[block] - 1
        step = self.session.computed_step(writer, position, cursor.branch)
        if step is None or step > cursor.step:  # computed again since: the record keeps the latest
            given = self.session.given_out(block, cursor.step, cursor.branch)
            if given is None:
                return
            yield f"block {block} was written last by request {writer}, which got it in step {given.step}"
            return
        yield f"block {block} was written last by request {writer} in step {step}"


class _Tokens:
    """The tokens of a branch of a session."""

    def __init__(self, session: Session, branch: int) -> None:
        self._session = session
        self._branch = branch

    def tokens_of(self, request: str) -> Sequence[int]:
        return self._session.tokens_of(request, self._branch)


def _change(stop: Stop) -> str:
    when = f"in the plan of step {stop.step}" if stop.when == "planned" else f"in step {stop.step}"
    whose = "" if stop.request is None else f", request {stop.request}"
    whose += "" if stop.position is None else f" position {stop.position}"
    return f"{stop.expression}: {stop.old} → {stop.new} {when}{whose}"


def _point_of(info: PointInfo, known: Known) -> Point:
    """The point that an engine tells of."""
    expression = None
    if info.expression:
        expression = (check if info.kind == "watch" else check_condition)(info.expression, known)
    place = None if info.stage is None else (-1 if info.layer is None else info.layer, info.stage)
    return Point(
        info.number, info.kind, expression, place, info.event, info.request, info.temporary,
        let_pass=info.let_pass,
    )  # fmt: skip


def _unknown(reasons: list[str]) -> list[str]:
    if not reasons:
        return []
    count = len(reasons)
    return [f"{count} value{'s' if count != 1 else ''} could not be judged: {reasons[0]}"]


__all__ = ["Cursor", "RecordConsole"]
