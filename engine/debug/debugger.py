"""Runs an engine until something that somebody waits for happens."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgspec

from engine import events as ev
from engine.debug.bound import Place
from engine.debug.checker import Known
from engine.debug.errors import DebugError
from engine.debug.judging import Instant, judge
from engine.debug.moment import Moment
from engine.debug.names import Needs
from engine.debug.points import Point, PointTable
from engine.debug.present import Present, TextOf
from engine.debug.said import Stop, When
from engine.engine import Begun, Engine, Step, StepFailedError
from engine.execution import Halted
from engine.execution import Point as StagePoint


@dataclass(slots=True)
class Debugger:
    """Drives `engine`, and halts it where one of `points` says so.

    With no point set, a step is the engine's own after one `if`. `stop` says what halted the latest `step`,
    None when nothing did. A stop inside a forward pass leaves the engine there (`engine.begun`). Nothing that is
    looked at changes the run.
    """

    engine: Engine
    text_of: TextOf
    known: Known
    present: Present = field(init=False)
    points: PointTable = field(default_factory=PointTable)
    stop: Stop | None = None
    stop_commands: tuple[str, ...] = ()  # of the point that made the latest stop
    armed: bool = False
    _failed: list[Stop] = field(default_factory=list)
    _active: list[Point] = field(default_factory=list)
    _places: frozenset[Place] = frozenset()
    _every_stage: bool = False
    _heard: list[ev.Event] = field(default_factory=list)
    _planned: Begun | None = None  # whose plan was judged

    def __post_init__(self) -> None:
        self.present = Present(self.engine, self.text_of)

    # -- running -------------------------------------------------------------------------------------

    def step(self) -> Step | None:
        """A step, or what is left of the one under way; None when it was halted, or nobody is live.

        Raises StepFailedError as `Engine.step` does; `stop` is set then if a point waited for it.
        """
        self.stop = None
        if self.armed or self.engine.begun is not None:
            return self._watched_step()
        self.present.unread = self.engine.step()
        return self.present.unread

    def _watched_step(self) -> Step | None:
        begun = self.engine.begun
        if begun is None:
            if not self.engine.busy:
                self._judge_between()
                return None
            begun = self.engine.begin()
        if self._planned is not begun and self._judge_plan(begun):
            return None
        while self._watches_stages and (at := self.next_stage(begun)) is not None:
            if self._judge_stage(begun, at):
                return None
        return self.complete(begun)

    def begin(self) -> Begun:
        """Plan the next step, and judge its plan: `stop` says whether a point halts it."""
        begun = self.engine.begin()
        self.stop = None
        self._judge_plan(begun)
        return begun

    def into(self, count: int = 1) -> Stop | None:
        """Go into the next step's forward pass, and on by `count` stages; the stop, if a point made one.

        From the last stage the step is finished. Raises DebugError when nobody is live.
        """
        self.stop = None
        begun = self.engine.begun
        if begun is None:
            if not self.engine.busy:
                raise DebugError("no request is live: there is no step to go into")
            begun = self.engine.begin()
        if self._planned is not begun and self._judge_plan(begun):
            return self.stop
        for _ in range(count):
            at = self.next_stage(begun)
            if at is None:
                self.complete(begun)
                break
            if self._judge_stage(begun, at):
                break
        return self.stop

    def abandon(self) -> None:
        """Give up the step under way."""
        self.engine.abandon()
        self._planned = None
        self.present.stages.begin()

    def next_stage(self, begun: Begun) -> StagePoint | None:
        """Run on to the next stage of the pass; None when the last is behind. No point is judged."""
        try:
            return self.engine.next_stage(begun)
        except StepFailedError as error:
            self._judge_failure(error)
            raise

    def complete(self, begun: Begun) -> Step:
        """Compute what is left of the step, and judge what came of it."""
        try:
            step = self.engine.complete(begun)
        except StepFailedError as error:
            self._judge_failure(error)
            raise
        self._planned = None
        self.present.committed(step)
        self._judge_results(step)
        return step

    # -- points --------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Points were added, deleted or changed."""
        self._active = self.points.active
        self.armed = bool(self._active)
        self._places = frozenset(place for point in self._active for place in point.watched)
        self._every_stage = any(point.every_stage for point in self._active)
        self.engine.listener = self._heard.extend if any(point.event for point in self._active) else None

    def add(self, point: Point) -> Point:
        """Set a point. DebugError when it could never be judged."""
        self.check_point(point)
        self.points.add(point)
        self._remember(point)
        self.changed()
        return point

    def add_own(self, point: Point) -> None:
        """Set a point of a command that runs up to somewhere."""
        self.check_point(point)
        self.points.add_own(point)
        self.changed()

    def add_check(self, point: Point) -> None:
        """Check a condition at every moment where it can be judged: see `take_failed`."""
        self.check_point(point)
        self.points.add_check(point)
        self.changed()

    def take_failed(self) -> list[Stop]:
        """The checks that did not hold since the last call, each once: where, and with which values."""
        failed, self._failed = self._failed, []
        return failed

    def give_up_own(self) -> None:
        """Forget the points of commands that ran up to somewhere."""
        self.points.clear_own()
        self.changed()

    def rewound(self) -> None:
        """The engine stands elsewhere in time: watched values begin anew."""
        self._planned = None
        self.present.elsewhere()
        for point in self.points:
            point.memory.clear()
            self._remember(point)

    def check_point(self, point: Point) -> None:
        """Raise DebugError for a point that could never be judged."""
        if point.moments == ("inside",) and self.known.layers == 0:
            raise DebugError("this engine has no stages to stop between")
        if point.place is not None and Needs.TOKEN in point.needs:
            raise DebugError("the token is not chosen yet at a stage: leave the stage out, or the token's names")

    def _remember(self, point: Point) -> None:
        """A watchpoint begins with the value that there is."""
        self.present.catch_up()
        if point.why == "watch":
            quiet = self._instant("committed" if self.engine.begun is None else "planned")
            judge([replace(point)], quiet)

    # -- judging -------------------------------------------------------------------------------------

    @property
    def _watches_stages(self) -> bool:
        return bool(self._places) or self._every_stage or any("inside" in p.moments for p in self._active)

    def _judge_plan(self, begun: Begun) -> bool:
        self._planned = begun
        self.present.planned(begun)
        for point in self._active:
            point.met.clear()
        return self._judge(self._instant("planned"))

    def _judge_stage(self, begun: Begun, at: StagePoint) -> bool:
        assert begun.forward is not None
        self.present.stages.note(begun.forward, self._places, self._every_stage)
        place = (at.layer, at.stage)
        return self._judge(self._instant("inside", place))

    def note_stage(self) -> Stop | None:
        """Judge the stage where somebody else has taken the pass; the stop, if a point says so."""
        begun = self.engine.begun
        self.stop = None
        if begun is None or not isinstance(begun.forward, Halted) or begun.forward.at is None:
            return None
        if self._planned is not begun:
            self._judge_plan(begun)
        self._judge_stage(begun, begun.forward.at)
        return self.stop

    def _judge_results(self, step: Step) -> None:
        self._heard.extend(step.results)
        self._judge(self._instant("committed"))

    def _judge_failure(self, error: StepFailedError) -> None:
        state = self.engine.state
        self._heard.append(ev.StepFailed(branch=state.branch, step=state.step, error=_cause(error), ended=()))
        self._planned = None
        self._judge(self._instant("failed"))

    def _judge_between(self) -> None:
        """What was said while nothing runs: a request refused, or ended by hand."""
        if self._heard:
            self._judge(self._instant("committed"))

    def _judge(self, instant: Instant) -> bool:
        judged = judge(self._active, instant)
        self._heard.clear()
        stops = [(point, stop) for point, stop in judged.stops if point.why != "assert"]
        for point, stop in judged.stops:
            if point.why == "assert":
                self.points.failed(point)
                self._failed.append(stop)
            else:
                self.points.stopped_at(point)
        self.stop, self.stop_commands = None, ()
        if stops:
            (first, stop), *others = stops
            also = tuple(other.number for other, _ in others if other.number)
            self.stop = msgspec.structs.replace(stop, also=also)
            self.stop_commands = first.commands
        if judged.stops:
            self.changed()
        return bool(stops)

    # -- looking -------------------------------------------------------------------------------------

    @property
    def standing(self) -> str:
        """Where the engine stands, in words."""
        return self.present.standing

    def moment(self, request: str | None = None, position: int | None = None) -> Moment:
        """Now, looking at `request` and its token at `position`: by default the one that this step chose."""
        return self.present.moment(request, position)

    def _instant(self, when: When, place: Place | None = None) -> Instant:
        return self.present.instant(when, self._heard, place)


def _cause(error: StepFailedError) -> str:
    cause = error.__cause__
    return f"{type(cause).__name__}: {cause}" if cause is not None else str(error)
