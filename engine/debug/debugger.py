"""Runs an engine until something that somebody waits for happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import msgspec

from engine import events as ev
from engine.debug.bound import Place
from engine.debug.candidates import KnownCandidates, chosen_of
from engine.debug.checker import Known
from engine.debug.errors import DebugError, LacksError
from engine.debug.judging import Instant, judge
from engine.debug.moment import Chosen, Moment
from engine.debug.names import Needs
from engine.debug.points import Point, PointTable
from engine.debug.said import Stop, When, place_text
from engine.debug.seen_stages import SeenStages
from engine.details import TokenDetails
from engine.engine import Begun, Engine, Step, StepFailedError
from engine.events import Work
from engine.execution import Halted
from engine.execution import Point as StagePoint
from engine.sanitise import display_text
from engine.wording import sentence

TextOf = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class _Said:
    """A token of the latest step, and its index among them."""

    event: ev.Token
    index: int


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
    points: PointTable = field(default_factory=PointTable)
    stop: Stop | None = None
    stop_commands: tuple[str, ...] = ()  # of the point that made the latest stop
    armed: bool = False
    _failed: list[Stop] = field(default_factory=list)
    _active: list[Point] = field(default_factory=list)
    _places: frozenset[Place] = frozenset()
    _every_stage: bool = False
    _stages: SeenStages = field(default_factory=SeenStages)
    _heard: list[ev.Event] = field(default_factory=list)
    _planned: Begun | None = None  # whose plan was judged
    _batch: tuple[Work, ...] = ()
    _latest: Step | None = None
    _unread: Step | None = None  # the latest step, when nobody has looked at it
    _details: dict[tuple[str, int], TokenDetails] | None = None  # of the latest step, once somebody asked
    _tokens: dict[tuple[str, int], _Said] = field(default_factory=dict)

    # -- running -------------------------------------------------------------------------------------

    def step(self) -> Step | None:
        """A step, or what is left of the one under way; None when it was halted, or nobody is live.

        Raises StepFailedError as `Engine.step` does; `stop` is set then if a point waited for it.
        """
        self.stop = None
        if self.armed or self.engine.begun is not None:
            return self._watched_step()
        self._unread = self.engine.step()
        return self._unread

    def continue_(self, feed: Callable[[], None] = lambda: None) -> Stop | None:
        """Step until a point stops the run, which is returned, or nobody is live. `feed` queues what is due."""
        while True:
            feed()
            step = self.step()
            if self.stop is not None:
                return self.stop
            if step is None and self.engine.begun is None:
                return None

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

    @property
    def standing(self) -> str:
        """Where the step under way stands, in words."""
        begun = self.engine.begun
        if begun is None:
            return f"after step {self.engine.state.step}"
        at = begun.forward.at if isinstance(begun.forward, Halted) else None
        if at is None:
            return f"step {begun.plan.step} is planned and not computed"
        return f"inside step {begun.plan.step} at {place_text(at.layer, at.stage)}"

    def abandon(self) -> None:
        """Give up the step under way."""
        self.engine.abandon()
        self._planned = None
        self._stages.begin()

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
        self._note_results(step)
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
        self._planned, self._batch, self._latest, self._unread = None, (), None, None
        self._tokens.clear()
        self._stages.begin()
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
        self._catch_up()
        if point.why == "watch":
            quiet = self._instant("committed" if self.engine.begun is None else "planned")
            judge([replace(point)], quiet)

    # -- judging -------------------------------------------------------------------------------------

    @property
    def _watches_stages(self) -> bool:
        return bool(self._places) or self._every_stage or any("inside" in p.moments for p in self._active)

    def _judge_plan(self, begun: Begun) -> bool:
        self._planned, self._batch, self._unread = begun, begun.plan.batch, None
        self._stages.begin(begun.forward)
        self._tokens.clear()
        for point in self._active:
            point.met.clear()
        return self._judge(self._instant("planned"))

    def _judge_stage(self, begun: Begun, at: StagePoint) -> bool:
        assert begun.forward is not None
        self._stages.note(begun.forward, self._places, self._every_stage)
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

    # -- moments -------------------------------------------------------------------------------------

    def moment(self, request: str | None = None, position: int | None = None) -> Moment:
        """Now, looking at `request` and its token at `position`: by default the one that this step chose."""
        self._catch_up()
        chosen, candidates = None, None
        if request is not None:
            said = self._said(request, position)
            if said is not None:
                chosen, candidates = self._chosen(said)
        elif position is not None:
            raise LacksError("say whose position")
        return self._moment(request, chosen, candidates)

    def _said(self, request: str, position: int | None) -> _Said | None:
        own = [said for (whose, _), said in self._tokens.items() if whose == request]
        if position is None:
            return own[-1] if own else None
        found = self._tokens.get((request, position))
        if found is None and request in self.engine.tokens:
            tokens = len(self.engine.tokens.tokens_of(request))
            prompt = self.engine.tokens.prompt_tokens_of(request)
            if not prompt <= position < tokens:
                raise LacksError(
                    f"request {request} chose no token at position {position}: it chose {prompt} to {tokens - 1}"
                    if tokens > prompt
                    else f"request {request} has chosen no token yet"
                )
            raise LacksError(f"position {position} was chosen in an earlier step: go there with goto")
        return found

    def _catch_up(self) -> None:
        """Take in a step that nothing was looked for in."""
        if self._unread is not None:
            self._batch = self._unread.plan.batch
            self._stages.begin()
            self._note_results(self._unread)

    def _moment(
        self, request: str | None = None, chosen: Chosen | None = None, candidates: KnownCandidates | None = None
    ) -> Moment:
        return Moment(
            self.engine.state, self._batch, self.engine.tokens.__contains__, self.text_of, self._stages, request,
            chosen, candidates,
        )  # fmt: skip

    def _instant(self, when: When, place: Place | None = None) -> Instant:
        return Instant(
            when, self._moment(), self._of_requests if when != "inside" else self._of_batch, self._of_tokens,
            self._heard, self._sentence, place, self._ready,
        )  # fmt: skip

    def _of_requests(self) -> Iterable[Moment]:
        return [self._moment(request) for request in self.engine.state.requests]

    def _of_batch(self) -> Iterable[Moment]:
        return [self._moment(work.request) for work in self._batch]

    def _of_tokens(self) -> Iterable[Moment]:
        return (self._moment(said.event.request, *self._chosen(said)) for said in self._tokens.values())

    def _ready(self, point: Point, request: str) -> bool:
        """Whether everything that the point looks at in the pass is behind: judged at the last of it."""
        if point.expression is None or point.place is not None or not point.expression.places:
            return True
        begun = self.engine.begun
        at = begun.forward.at if begun and isinstance(begun.forward, Halted) else None
        here = at is not None and (at.layer, at.stage) in point.expression.places
        return (here or point.every_stage) and self._stages.knows(point.expression.places, request)

    # -- tokens --------------------------------------------------------------------------------------

    def _note_results(self, step: Step) -> None:
        chosen = [event for event in step.results if isinstance(event, ev.Token)]
        self._latest, self._details, self._unread = step, None, None
        self._tokens = {(e.request, e.position): _Said(e, index) for index, e in enumerate(chosen)}

    def _chosen(self, said: _Said) -> tuple[Chosen, KnownCandidates]:
        assert self._latest is not None
        event = said.event
        if self._details is None:
            self._details = {(each.request, each.position): each for each in self._latest.details()}
        details = self._details.get((event.request, event.position))
        logits = self._latest.details.logits
        candidates = KnownCandidates(details, None if logits is None else logits[said.index])
        bare = Chosen(event.request, event.position, event.token, event.draw)
        return bare if details is None else chosen_of(details), candidates

    def _sentence(self, event: ev.Event) -> str:
        return sentence(event, lambda token: display_text(self.text_of(token)))


def _cause(error: StepFailedError) -> str:
    cause = error.__cause__
    return f"{type(cause).__name__}: {cause}" if cause is not None else str(error)
