"""Two requests side by side, aligned by token, and what is known of each position."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from sessions.diff_result import PositionDifference
from sessions.diff_words import mark, number
from sessions.records import TokenRow
from workbench.views.compare_data import Comparison
from workbench.widgets.columns import Column
from workbench.widgets.glyphs import Glyphs
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Line, Span

NONE = -1.0
"""A position that was not compared: an empty column of a chart."""
TextOf = Callable[[int], str]


class AlignedTokens:
    """One row for each position; the first difference carries a cross, what comes after it has other contexts."""

    columns: Sequence[Column] = (
        Column("pos", 6, "right"),
        Column("A", least=8),
        Column("", 1),
        Column("B", least=8),
        Column("p A", 6, "right", priority=2),
        Column("p B", 6, "right", priority=2),
        Column("rank", 9, "right", priority=3),
        Column("KL", 9, "right", priority=1),
    )

    def __init__(self, comparison: Comparison, step: int, glyphs: Glyphs) -> None:
        self._all = comparison
        self._step = step
        self._glyphs = glyphs

    def __len__(self) -> int:
        return len(self._all)

    def row(self, index: int) -> Sequence[Line]:
        found, same = self._all.found.get(index), index != self._all.parts_at
        left, right = self._all.row(index, left=True), self._all.row(index, left=False)
        return (
            Span(f"{index:,}", "strong" if not same else "dim"),
            self._token(index, left=True),
            self._mark(index),
            self._token(index, left=False),
            _probability(left),
            _probability(right),
            _ranks(found, self._glyphs),
            _kl(found, self._glyphs),
        )

    def changed(self, index: int) -> bool:
        """Whether the left request got this token in the step under the cursor."""
        row = self._all.row(index, left=True)
        return row is not None and row.chosen_step == self._step

    def _token(self, index: int, *, left: bool) -> Span:
        ids = self._all.ids_a if left else self._all.ids_b
        side = self._all.a if left else self._all.b
        if index >= len(ids):
            return Span("", "faint")
        return Span(f"'{side.text(ids[index])}'", self._ink(index))

    def _ink(self, index: int) -> Ink:
        parts = self._all.parts_at
        if index == parts:
            return "strong"
        if parts is not None and index > parts:
            return "dim"
        return "text" if index >= self._all.start else "cached-prefix"

    def _mark(self, index: int) -> Span:
        parts = self._all.parts_at
        if index == parts:
            return Span(self._glyphs.cross, "bad")
        if parts is not None and index > parts:
            return Span("")
        return Span("=", "faint")


class Strip:
    """A number of every position, for a chart under the text."""

    limit = 0.0

    def __init__(
        self, name: str, ink: Ink, comparison: Comparison, of: Callable[[PositionDifference], float | None]
    ) -> None:
        self.name = name
        self.ink: Ink = ink
        self._all = comparison
        self._of = of

    def __len__(self) -> int:
        return len(self._all)

    def values(self, start: int, stop: int) -> Sequence[float]:
        return [self._value(position) for position in range(start, min(stop, len(self)))]

    def written(self, value: float) -> str:
        return "–" if value == NONE else number(value) if value < 1 else f"{value:.3g}"

    def _value(self, position: int) -> float:
        found = self._all.found.get(position)
        value = None if found is None else self._of(found)
        return NONE if value is None else value


def strips_of(comparison: Comparison) -> Sequence[Strip]:
    """How far the distributions lie apart, and how far the token's rank moved."""
    return (
        Strip("KL", "accent", comparison, lambda each: each.kl),
        Strip("rank", "changed", comparison, _rank_change),
    )


def _rank_change(found: PositionDifference) -> float | None:
    if found.rank_a is None or found.rank_b is None:
        return None
    return abs(found.rank_b - found.rank_a)


def _probability(row: TokenRow | None) -> Span:
    if row is None or row.raw_logprob is None:
        return Span("", "faint")
    return Span(f"{math.exp(row.raw_logprob):.3f}", "dim")


def _ranks(found: PositionDifference | None, glyphs: Glyphs) -> Span:
    if found is None:
        return Span("")
    before, after = (f"{rank:,}" if rank is not None else ">20" for rank in (found.rank_a, found.rank_b))
    return Span(before, "dim") if before == after else Span(f"{before}{glyphs.arrow}{after}", "changed")


def _kl(found: PositionDifference | None, glyphs: Glyphs) -> Span:
    if found is None or found.kl is None:
        return Span("")
    if found.same_logits:
        return Span("equal", "faint")
    basis = {"≈": glyphs.approximate}.get(mark(found.basis), mark(found.basis))
    return Span(f"{basis}{number(found.kl)}", "text" if found.same_top else "changed")


__all__ = ["AlignedTokens", "Strip", "strips_of"]
