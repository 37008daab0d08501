"""A step taken stage by stage: the pass is halted at each, looked at, and goes on from there. No torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from engine import protocol as pr
from engine.engine import Begun, Engine, Step
from engine.execution import Forward, Halted, Point
from engine.model.stage_names import ATTENTION_STAGES, LAST_STAGES, OUTSIDE, points
from engine.stage_report import Part, Passed, Standing, Window
from engine.stage_source import sources_of


class Judge(Protocol):
    """Whoever takes the steps and judges them (`engine.debug.debugger`)."""

    def begin(self) -> Begun: ...

    def next_stage(self, begun: Begun) -> Point | None: ...

    def complete(self, begun: Begun) -> Step: ...

    def note_stage(self) -> object | None:
        """Judge the stage where the pass stands; not None where it is to halt there."""
        ...


class StageWalk:
    """Where `engine` stands inside the forward pass of a step, whoever halted it there.

    Methods raise ValueError, in one line, for what is not possible, and StepFailedError as `Engine.step` does.
    """

    def __init__(self, engine: Engine, judge: Judge | None = None) -> None:
        """With `judge`, points that are set halt the walk too."""
        self._engine = engine
        self._steps: Engine | Judge = engine if judge is None else judge
        self._judge = judge
        self._begun: Begun | None = None
        self._passed: list[Passed] = []
        self._told = 0
        self._points = list(points(engine.limits.layers))

    def obey(self, command: pr.Walking) -> pr.StageReport:
        """Carry out a command, and say where the pass stands then."""
        match command:
            case pr.StepInto():
                over = self.into()
            case pr.NextStage(count=count):
                over = self.next(count)
            case pr.NextLayer():
                over = self.next_layer()
            case pr.ToStage(layer=layer, stage=stage):
                over = self.to(layer, stage)
            case pr.LookStage(request=request, window=window):
                return self.report(request, window, command.id)
            case pr.FinishForward():
                over = self.finish()
            case pr.Abandon():
                over = self.abandon()
        request = None if isinstance(command, pr.FinishForward | pr.Abandon) else command.request
        return over or self.report(request, id_=command.id)

    # -- going on ------------------------------------------------------------------------------------

    def into(self) -> pr.StageReport | None:
        """Plan the next step and stand before its first stage; one that runs nothing is over at once."""
        begun = self._engine.begun
        if begun is None:
            if not self._engine.busy:
                raise ValueError("no request is live: there is no step to go into")
            begun = self._steps.begin()
        return self.finish() if self._engine.enter(begun) is None else None

    def next(self, count: int = 1) -> pr.StageReport | None:
        """Run on over `count` stages; from the last one, to the end of the step."""
        if count < 1:
            raise ValueError(f"count is {count}: it must be at least 1")
        return self._run_on(count=count)

    def next_layer(self) -> pr.StageReport | None:
        """Run on to the first stage of the next layer, or from the last layer to the first stage after it."""
        at = self._at
        if at is not None and at.stage in LAST_STAGES:
            raise ValueError(f"there is no layer after {at.stage}: finish the step")
        here = OUTSIDE if at is None else at.layer
        return self._run_on(until=lambda point: point.layer != here)

    def to(self, layer: int, stage: str) -> pr.StageReport | None:
        """Run on to a stage ahead."""
        if stage in ATTENTION_STAGES or (layer, stage) not in self._points:
            raise ValueError(f"there is no stage {_name(layer, stage)} in this pass")
        if (at := self._at) is not None and self._index(at) >= self._points.index((layer, stage)):
            raise ValueError(
                f"{_name(layer, stage)} is not ahead: the pass stands at {_name(at.layer, at.stage)}"
            )
        return self._run_on(until=lambda point: (point.layer, point.stage) == (layer, stage))

    def finish(self) -> pr.StageReport:
        """Run what is left of the pass, and commit the step."""
        begun = self._under_way()
        self._steps.complete(begun)
        return pr.StageReport(step=begun.plan.step, place="finished")

    def abandon(self) -> pr.StageReport:
        """Give the step up."""
        begun = self._under_way()
        self._engine.abandon()
        return pr.StageReport(step=begun.plan.step, place="abandoned")

    def _run_on(
        self, count: int | None = None, until: Callable[[Point], bool] = lambda _point: False
    ) -> pr.StageReport | None:
        begun = self._under_way()
        while (point := self._steps.next_stage(begun)) is not None:
            self.note()
            halted = self._judge is not None and self._judge.note_stage() is not None
            if halted or until(point) or (count is not None and (count := count - 1) == 0):
                return None
        return self.finish()

    # -- looking -------------------------------------------------------------------------------------

    def note(self) -> None:
        """Take in the stage where the pass stands, if that is news."""
        begun, at = self._under_way(), self._at
        if self._begun is not begun:
            self._begun, self._passed, self._told = begun, [], 0
        if at is None or (self._passed and self._is(self._passed[-1], at)):
            return
        assert isinstance(begun.forward, Halted)
        stats = tuple(begun.forward.stats(part.request) for part in _parts(begun.forward))
        dtype = str(at.tensor.dtype).removeprefix("torch.")
        self._passed.append(Passed(at.layer, at.stage, dtype, tuple(at.tensor.shape), at.ns, stats))

    def report(self, request: str | None = None, window: Window = Window(), id_: int = 0) -> pr.StageReport:  # noqa: B008
        """Where the pass stands, and what was noted since the report before.

        The values are of the rows of `request`, or of the first one in the batch where it is not there.
        """
        begun = self._under_way()
        if begun.forward is None:
            return pr.StageReport(id=id_, step=begun.plan.step, place="before")
        self.note()
        standing = self._standing(begun.forward, request, window)
        news, self._told = self._passed[self._told :], len(self._passed)
        return pr.StageReport(
            id=id_, step=begun.plan.step, place=self._place, parts=_parts(begun.forward), passed=tuple(news),
            standing=standing,
        )  # fmt: skip

    def _standing(self, forward: Forward, request: str | None, window: Window) -> Standing | None:
        if not isinstance(forward, Halted) or (at := forward.at) is None:
            return None
        parts = _parts(forward)
        chosen = next((part.request for part in parts if part.request == request), parts[0].request)
        rows = forward.rows(chosen, at.stage)
        shape = (rows.stop - rows.start, *at.tensor.shape[1:])
        values = forward.values(chosen, window)
        return Standing(at.layer, at.stage, chosen, shape, values, sources_of(forward.ran()))

    @property
    def _place(self) -> Literal["before", "at", "behind"]:
        if self._at is not None:
            return "at"
        return "behind" if self._passed else "before"

    @property
    def _at(self) -> Point | None:
        forward = self._under_way().forward
        return forward.at if isinstance(forward, Halted) else None

    def _under_way(self) -> Begun:
        if (begun := self._engine.begun) is None:
            raise ValueError("no step is under way: step into one first")
        return begun

    def _index(self, at: Point) -> int:
        return self._points.index((at.layer, at.stage))

    @staticmethod
    def _is(passed: Passed, at: Point) -> bool:
        return (passed.layer, passed.stage) == (at.layer, at.stage)


def _parts(forward: Forward) -> tuple[Part, ...]:
    return tuple(Part(part.work.request, part.work.start, part.work.tokens) for part in forward.job.slices)


def _name(layer: int, stage: str) -> str:
    return stage if layer == OUTSIDE else f"layer {layer} {stage}"
