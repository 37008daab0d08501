"""What the debugger has seen of the stages of the pass under way."""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import isnan
from typing import Final

from engine.debug.bound import Place
from engine.debug.errors import LacksError
from engine.debug.said import place_text
from engine.debug.values import Value
from engine.execution import Forward, Halted
from engine.stage_report import Stats

_OF: Final[dict[str, Callable[[Stats], float]]] = {
    "rms": lambda stats: stats.rms,
    "mean": lambda stats: stats.mean,
    "max": lambda stats: stats.high,
    "min": lambda stats: stats.low,
    "norm": lambda stats: stats.norm,
    "nan": lambda stats: stats.nans,
}


class SeenStages:
    """Statistics by place and request, of one pass: those that were asked for before they were passed."""

    def __init__(self) -> None:
        self._stats: dict[tuple[Place, str], Stats | None] = {}
        self._nan: dict[str, bool] = {}
        self._forward: Forward | None = None

    def begin(self, forward: Forward | None = None) -> None:
        """A pass begins."""
        self._stats.clear()
        self._nan.clear()
        self._forward = forward

    def note(self, forward: Forward, wanted: Collection[Place], every: bool) -> None:
        """The pass stands at a stage; look at it where it is wanted."""
        self._forward = forward
        if not isinstance(forward, Halted) or (at := forward.at) is None:
            return
        place = (at.layer, at.stage)
        if every or place in wanted:
            for part in forward.job.slices:
                self._take(forward, place, part.work.request, every)

    def _take(self, forward: Halted, place: Place, request: str, every: bool) -> None:
        stats = self._stats[place, request] = forward.stats(request)
        if every:
            self._nan[request] = self._nan.get(request, False) or bool(stats and stats.nans)

    def value(self, place: Place, statistic: str, request: str) -> Value:
        if (place, request) not in self._stats:
            self._look_now(place, request)
        stats = self._stats[place, request]
        if stats is None:
            return None
        value = _OF[statistic](stats)
        return None if isnan(value) else value

    def any_nan(self, request: str) -> Value:
        if request not in self._nan:
            raise LacksError("any_nan is known while a point watches every stage, such as `catch nan`")
        return self._nan[request]

    def knows(self, places: Collection[Place], request: str) -> bool:
        return all((place, request) in self._stats for place in places)

    def _look_now(self, place: Place, request: str) -> None:
        forward = self._forward
        at = forward.at if isinstance(forward, Halted) else None
        if at is None or (at.layer, at.stage) != place or forward is None:
            name = place_text(*place)
            raise LacksError(f"{name} is known while the pass stands there: stop there with `until {name}`")
        assert isinstance(forward, Halted)
        if all(part.work.request != request for part in forward.job.slices):
            raise LacksError(f"request {request} is not in this pass")
        self._stats[place, request] = forward.stats(request)
