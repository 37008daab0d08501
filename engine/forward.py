"""A step's forward pass under way: the same one, run through, watched, changed, or halted at a stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from engine.capture import Taken
from engine.execution import Job, Outcome, Point
from engine.model.batch import Batch
from engine.model.decoder import run
from engine.model.layer import Stages
from engine.model.stage_names import LAST_STAGES
from engine.stage_report import Stats, Values, Window
from engine.stage_source import Ran, SourceTrail
from engine.stage_stats import stats_of, values_of

Choose = Callable[[Job, Tensor, int, Sequence[Taken]], Outcome]
"""From the job, its logits `[rows, vocab]`, nanoseconds spent on them, and what was captured: the outcome."""


class Watcher(Protocol):
    """Sees every stage as it is reached, and may change its tensor in place."""

    def at(self, layer: int, stage: str, tensor: Tensor) -> None: ...


class TorchForward:
    """The pass of `job`: its stages over `batch`, and `choose` for what comes out of them."""

    def __init__(
        self, job: Job, batch: Batch, stages: Stages, watchers: Sequence[Watcher], taken: Sequence[Taken],
        choose: Choose, spent_ns: int = 0,
    ) -> None:  # fmt: skip
        """`spent_ns` is what getting ready has taken already."""
        self.job = job
        self.batch = batch
        self._stages = stages
        self._watchers = watchers
        self._taken = taken
        self._choose = choose
        self._logits: Tensor | None = None
        self._started = False
        self._spent_ns = spent_ns
        self._trail = SourceTrail()
        self.at: Point | None = None

    def next(self) -> Point | None:
        """Run on to the next named stage; None when the logits are there."""
        self._started = True
        clock = time.perf_counter_ns()
        with torch.inference_mode():
            point = self._trail.watch(self._advance)
        ns = time.perf_counter_ns() - clock
        self._spent_ns += ns
        self.at = None if point is None else Point(point.layer, point.stage, point.tensor, ns)
        return self.at

    def rows(self, request: str, stage: str) -> slice:
        """The rows of a stage's tensor that belong to `request`; KeyError when it is not in the batch."""
        index = self.batch.index_of(request)
        return self.batch.rows_of_logits(index) if stage in LAST_STAGES else self.batch.rows(index)

    def ran(self) -> tuple[Ran, ...]:
        return self._trail.follow(self._stages)

    def stats(self, request: str) -> Stats | None:
        rows = self._rows_at(request)
        return None if rows is None else stats_of(rows)

    def values(self, request: str, window: Window) -> Values | None:
        rows = self._rows_at(request)
        return None if rows is None else values_of(rows, window)

    def _rows_at(self, request: str) -> Tensor | None:
        """The rows of `request` at the stage it is halted at; None where it has none."""
        assert self.at is not None
        found: Tensor = self.at.tensor[self.rows(request, self.at.stage)]
        return found if len(found) else None

    def finish(self) -> Outcome:
        """Run what is left and choose the tokens."""
        clock = time.perf_counter_ns()
        self.at = None
        with torch.inference_mode():
            logits = self._rest()
        spent_ns = self._spent_ns + time.perf_counter_ns() - clock
        return self._choose(self.job, logits, spent_ns, self._taken)

    def _advance(self) -> Point | None:
        try:
            layer, stage, tensor = next(self._stages)
        except StopIteration as end:
            self._logits = end.value
            return None
        for watcher in self._watchers:
            watcher.at(layer, stage, tensor)
        return Point(layer, stage, tensor)

    def _rest(self) -> Tensor:
        if not (self._started or self._watchers):
            return run(self._stages)
        while self._logits is None:
            self._advance()
        return self._logits
