"""The stages of one row in two runs: as a table, and by layer as a plot."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.divergence_result import Divergence, FirstStage, StageDifference
from sessions.diff_words import by_layer, filled, layer_name, number, place
from workbench.widgets.columns import Column
from workbench.widgets.glyphs import Glyphs
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Bar, Line, Span

LOWEST = 1e-9


class LayerRows:
    """One row for each layer: how far the residual streams are apart after it, and what it adds by itself."""

    columns: Sequence[Column] = (
        Column("layer", 7, "right"),
        Column("relative", 9, "right"),
        Column("1e-9…1 (log)", least=12),
        Column("largest own", 20, priority=1),
    )

    def __init__(self, found: Divergence, glyphs: Glyphs) -> None:
        self._glyphs = glyphs
        self.layers = by_layer(found.stages)
        self._first = found.first

    def __len__(self) -> int:
        return len(self.layers)

    def row(self, index: int) -> Sequence[Line]:
        layer, stages = self.layers[index]
        worst = max(stages, key=lambda each: math.inf if each.own_rel is None else each.own_rel)
        beyond = next((each for each in stages if each.beyond), None)
        ink: Ink = "accent" if beyond is None else "bad"
        own = f"{number(worst.own_rel)} {worst.stage}" if worst.own_rel != 0 else "0"
        if beyond is not None:
            own = f"{self._glyphs.cross} {number(beyond.own_rel)} {beyond.stage}"
        return (
            Span(layer_name(layer, stages[-1].stage).removeprefix("layer "), "dim"),
            Span(number(stages[-1].rel)),
            Bar(filled(stages[-1].rel, LOWEST), ink),
            Span(own, "dim" if beyond is None else "bad"),
        )

    def changed(self, index: int) -> bool:  # noqa: ARG002
        return False

    @property
    def first_index(self) -> int:
        """The row of the layer that is named."""
        named = None if self._first is None else self._first.layer
        return next((index for index, (layer, _) in enumerate(self.layers) if layer == named), 0)


class StageRows:
    """Every stage in the order of the pass."""

    columns: Sequence[Column] = (
        Column(" stage", 20),
        Column("max abs", 9, "right", priority=2),
        Column("relative", 9, "right"),
        Column("cosine", 9, "right", priority=3),
        Column("own", 9, "right"),
        Column("rounding", 9, "right", priority=1),
        Column("", least=2),
    )

    def __init__(self, found: Divergence, glyphs: Glyphs) -> None:
        self.stages = found.stages
        self._first = found.first
        self._glyphs = glyphs

    def __len__(self) -> int:
        return len(self.stages)

    def row(self, index: int) -> Sequence[Line]:
        each = self.stages[index]
        ink: Ink = "bad" if each.beyond else "strong" if self.is_first(each) else "text"
        return (
            Span(f" {place(each.layer, each.stage)}", ink),
            Span(number(each.max_abs), "dim"),
            Span(number(each.rel)),
            Span(f"{each.cosine:.6f}", "dim"),
            Span(number(each.own_rel), ink),
            Span(number(each.floor), "faint"),
            Span(f"{self._glyphs.cross} beyond" if each.beyond else "", "bad"),
        )

    def changed(self, index: int) -> bool:  # noqa: ARG002
        return False

    def is_first(self, each: StageDifference) -> bool:
        return same_place(self._first, each)

    @property
    def first_index(self) -> int | None:
        """The row of the stage that is named, where it is one of these."""
        return next((index for index, each in enumerate(self.stages) if self.is_first(each)), None)


def same_place(first: FirstStage | None, each: StageDifference) -> bool:
    return first is not None and (first.layer, first.stage) == (each.layer, each.stage)


__all__ = ["LayerRows", "StageRows"]
