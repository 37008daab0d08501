"""A forward pass as the Layers view shows it: one that is halted, or one row's that was run again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.model.stage_names import points
from engine.protocol import LayersSeen
from engine.stage_report import Part, Passed, Source, Stats, Values
from engine.wording import plural
from workbench.inside import Inside, Place, stage_name
from workbench.views.layers_numbers import NONE, number, odd, place_text, time_text
from workbench.widgets.columns import Column
from workbench.widgets.spans import Line, Span


class Seen(NamedTuple):
    """A stage's values: those of rows `[rows, ...]` of a request, from `position` on."""

    name: str
    shape: tuple[int, ...]
    values: Values
    position: int
    closer: Values | None = None


@dataclass(frozen=True)
class StageLine:
    """One stage of the list; `stats` are of the rows on show. Nothing is known of stages nobody looked at."""

    layer: int
    stage: str
    passed: Passed | None = None
    stats: Stats | None = None
    here: bool = False


@dataclass(frozen=True)
class Pass:
    """What there is to show of one pass; `title` says whose, and `mark` where its numbers come from."""

    title: str
    mark: str
    lines: Sequence[StageLine]
    seen: dict[Place, Seen]
    sources: dict[Place, tuple[Source, ...]]
    here: int | None = None
    recomputed: bool = False

    @property
    def norms(self) -> dict[int, float]:
        """By layer, the l2 norm of the residual stream after it, where that is known."""
        after = (line for line in self.lines if line.stage == "resid_post" and line.stats is not None)
        return {line.layer: line.stats.norm for line in after if line.stats is not None}

    def index(self, layer: int, stage: str) -> int | None:
        """Where a stage stands in the list."""
        found = (at for at, line in enumerate(self.lines) if (line.layer, line.stage) == (layer, stage))
        return next(found, None)

    def nearest(self, layer: int, stage: str) -> int:
        """The stage of that name in that layer, or else the first one of the layer."""
        if (index := self.index(layer, stage)) is not None:
            return index
        return next((at for at, line in enumerate(self.lines) if line.layer == layer), 0)


def halted_pass(inside: Inside, layers: int, request: str | None) -> Pass:
    """The pass that the engine is halted in, with the numbers of `request` where it is part of it."""
    standing = inside.standing
    shown = standing.request if standing is not None else request
    at = inside.part(shown)
    part = None if at is None else inside.parts[at]
    lines = [_line(inside, layer, stage, at) for layer, stage in points(layers)]
    place = None if standing is None else (standing.layer, standing.stage)
    seen, sources = {}, {}
    if standing is not None and place is not None:
        sources[place] = standing.source
        if standing.values is not None and part is not None:
            name = stage_name(*place)
            first = part.position + part.tokens - standing.shape[0]
            seen[place] = Seen(name, standing.shape, standing.values, first, inside.closer)
    rows = "" if part is None else f": request {shown} {_rows(part)}"
    others = f" of {plural(len(inside.parts), 'request')}" if len(inside.parts) > 1 else ""
    title = f"inside step {inside.step}{rows}{others}"
    here = next((index for index, line in enumerate(lines) if line.here), None)
    return Pass(title, f"observed, {inside.where}", lines, seen, sources, here)


def _rows(part: Part) -> str:
    last = part.position + part.tokens - 1
    return f"row {last}" if part.tokens == 1 else f"rows {part.position}–{last}"


def _line(inside: Inside, layer: int, stage: str, part: int | None) -> StageLine:
    passed, standing = inside.passed.get((layer, stage)), inside.standing
    here = standing is not None and (standing.layer, standing.stage) == (layer, stage)
    stats = None if passed is None or part is None else passed.stats[part]
    return StageLine(layer, stage, passed, stats, here)


def row_pass(found: LayersSeen, mark: str) -> Pass:
    """The pass of one row that was run again."""
    lines = [StageLine(each.layer, each.stage, each, each.stats[0]) for each in found.stages]
    seen, sources = {}, {}
    for each, values, source_of in zip(found.stages, found.values, found.source_of, strict=True):
        place = each.layer, each.stage
        seen[place] = Seen(stage_name(*place), each.shape, values, found.position)
        sources[place] = tuple(found.sources[index] for index in source_of)
    return Pass(
        f"row {found.position} of request {found.request}, run again", mark, lines, seen, sources, recomputed=True
    )


class StageRows:
    """The stages as a table; where the pass stands is marked."""

    columns: Sequence[Column] = (
        Column("layer", 5, "right"),
        Column("stage", 10),
        Column("shape", 14, priority=2),
        Column("dtype", 8, priority=5),
        Column("mean", 10, "right", 4),
        Column("rms", 9, "right"),
        Column("largest", 10, "right", 1),
        Column("at", least=13, priority=6),
        Column("not finite", 10, priority=3),
        Column("time", 9, "right", 1),
    )

    def __init__(self, shown: Pass) -> None:
        self._lines = shown.lines

    def __len__(self) -> int:
        return len(self._lines)

    def row(self, index: int) -> Sequence[Line]:
        line = self._lines[index]
        layer = Span("" if line.layer < 0 else str(line.layer), "dim")
        stage = Span(line.stage, "strong" if line.here else "text")
        if line.passed is None:
            return (layer, Span(line.stage, "dim"), *[NONE] * 8)
        shape, time = place_text(line.passed.shape), time_text(line.passed.ns) if line.passed.ns else NONE
        return (layer, stage, shape, Span(line.passed.dtype, "dim"), *_numbers(line.stats), time)

    def changed(self, index: int) -> bool:
        return self._lines[index].here


def _numbers(stats: Stats | None) -> Sequence[Line]:
    """Mean, rms, the largest value and where, what is not finite."""
    if stats is None:
        return [NONE] * 5
    where = Span(place_text(stats.at), "dim")
    values = (number(stats.mean), number(stats.rms), number(stats.largest))
    return (*values, where, Span(odd(stats), "bad"))


__all__ = ["Pass", "Seen", "StageLine", "StageRows", "halted_pass", "row_pass"]
