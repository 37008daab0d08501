"""What the panes of the Attention view show: the grid of heads, the text under a row, the strongest keys."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from workbench.bench import Scene
from workbench.views.attention_data import Attended, Heads, Labels, Measure
from workbench.views.request_text import RequestText
from workbench.widgets.columns import Column
from workbench.widgets.heatmap import Matrix
from workbench.widgets.spans import Bar, Line, Span

if TYPE_CHECKING:
    from workbench.views.attention_data import Floats

MOST_KEYS = 64
SHARE = 0.99


class GridOfHeads:
    """Every layer and head as a small map, or as one shade that stands for a number."""

    def __init__(self, heads: Heads, heads_per_kv: int, measure: Measure) -> None:
        self._heads = heads
        self._measure = measure
        self.layers = heads.inspection.layers
        self.heads = heads.inspection.heads
        self.heads_per_kv = heads_per_kv

    def values(self, layer: int, head: int) -> Any:
        import numpy as np

        if not self._heads.has(layer):
            return None
        if self._measure.name == "map":
            return self._heads.grids[layer, head]
        share = self._heads.share(self._measure.name, layer, head)
        # the panes' scale is a square root; a single number is to look as large as it is
        return np.full((1, 1), share**2, np.float32)

    def note(self, layer: int, head: int) -> str:
        return self._heads.note(layer, head)


class AttendedText(RequestText):
    """The text of the request, each token shaded by how much the row attended to it."""

    @classmethod
    def under(cls, scene: Scene, request: str, heads: Heads, weights: Floats) -> AttendedText:
        """The text under the weights of a row."""
        text = cls.at(scene, request)
        text.heads, text.weights = heads, weights
        text.full = full_scale(weights)
        return text

    heads: Heads
    weights: Floats
    full: float

    def dropped(self, index: int) -> bool:
        return self.unread_by(self.heads.row, index)

    def shade(self, index: int) -> float | None:
        if index > self.heads.row or not self.full:
            return None
        weight = float(self.weights[index // self.heads.pool])
        return math.sqrt(min(1.0, weight / self.full))


def full_scale(weights: Floats) -> float:
    """The weight shown at full strength: the largest but the first token's, which often hides all others."""
    return float(weights[1:].max()) if len(weights) > 1 else float(weights.max())


class StrongestKeys:
    """The keys with the largest weights, as a table."""

    columns: Sequence[Column] = (
        Column("weight", 8, "right"),
        Column("", 0, least=6),
        Column("pos", 9, "right"),
        Column("back", 6, "right", 1),
        Column("token", 18),
    )

    def __init__(self, heads: Heads, weights: Floats, text: Callable[[int], str]) -> None:
        self._heads = heads
        self._text = text
        self.keys: Sequence[Attended] = heads.holding(weights, SHARE, MOST_KEYS)

    @property
    def summary(self) -> str:
        """How much of the row is on show."""
        if not self._heads.exact:
            return f"~ largest of every {self._heads.pool} positions"
        held = sum(key.weight for key in self.keys)
        return f"{len(self)} of {self._heads.inspection.kv} keys hold {held:.0%}"

    def __len__(self) -> int:
        return len(self.keys)

    def row(self, index: int) -> Sequence[Line]:
        key = self.keys[index]
        return (
            f"{key.weight:.4f}",
            Bar(key.weight / self.keys[0].weight, "accent"),
            self._place(key.position),
            Span(str(self._heads.row - key.position), "dim"),
            [f"'{self._text(self._heads.ids[key.position])}'", *self._note(key.position)],
        )

    def changed(self, index: int) -> bool:  # noqa: ARG002
        return False

    def _place(self, position: int) -> str:
        last = min(position + self._heads.pool - 1, self._heads.row)
        return str(position) if last == position else f"{position}–{last}"

    def _note(self, position: int) -> Sequence[Span]:
        if position == self._heads.row:
            return [Span(" itself", "dim")]
        if self._heads.exact and position in self._heads.followers:
            return [Span(" induction", "warn")]
        return [Span(" sink", "dim")] if position == 0 else []


def focus_matrix(heads: Heads, text: Callable[[int], str], mark: str) -> Matrix:
    """The selected head's rows over all keys."""
    seen = heads.inspection
    first = seen.kv - seen.rows
    values = heads.focus
    return Matrix(
        values,
        Labels(heads.ids, text, first, seen.rows),
        Labels(heads.ids, text, 0, values.shape[1], seen.pool),
        "query", "key", scale="sqrt", provenance=mark, first_row=first, column_step=seen.pool,
    )  # fmt: skip


def average_matrix(heads: Heads, layer: int, mark: str) -> Matrix:
    """The mean over a layer's heads of their small maps: pooled, so only a look at the shape."""
    return Matrix(
        heads.grids[layer].mean(axis=0), row_name="bin", column_name="bin", scale="sqrt", provenance=mark
    )


__all__ = ["AttendedText", "GridOfHeads", "StrongestKeys", "average_matrix", "focus_matrix", "full_scale"]
