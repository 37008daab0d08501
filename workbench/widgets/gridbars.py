"""GridBars: how many weights lie where on their grid, as columns over the marks of its levels."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from textual.geometry import Offset

from workbench.widgets.cursor import CursorPane
from workbench.widgets.glyphs import Glyphs
from workbench.widgets.inks import Ink
from workbench.widgets.sparkline import columns

MOST_ZOOM = 4


class GridBars(CursorPane):
    """Bins of equal width as columns; under them the levels that weights are rounded to.

    Several bins share a cell where the pane is narrow, and a bin takes several where it is wide. The cursor is
    on a bin, and the last line says what it holds.
    """

    help_text = (
        "How many weights lie where, in units of their group's grid, with the levels that they are rounded to"
        " marked below. ← → or a click choose a bin; the last line says what it holds."
    )

    def __init__(
        self,
        *,
        empty: str = "No weights.",
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(empty=empty, id=id, classes=classes)
        self.counts: Sequence[int] = ()
        self.levels: Sequence[float] = ()
        self.first = self.last = 0.0

    def set_bins(self, counts: Sequence[int], first: float, last: float, levels: Sequence[float]) -> None:
        """Show bins of equal width from `first` to `last`, and levels in the same units."""
        self.counts, self.first, self.last, self.levels = counts, first, last, levels
        self.items_changed()

    def item_count(self) -> int:
        return len(self.counts)

    def line_count(self) -> int:
        return self.body_height if self.counts else 0

    def line_of(self, index: int) -> int:
        return 0 if index >= 0 else -1

    def show_line(self, line: int) -> None:
        """All lines are always there."""

    @property
    def per_cell(self) -> int:
        """How many bins share a cell."""
        return max(1, -(-len(self.counts) // max(1, self.body_width - 2)))

    @property
    def per_bin(self) -> int:
        """How many cells a bin takes."""
        return max(1, min(MOST_ZOOM, (self.body_width - 2) // max(1, len(self.counts))))

    def move(self, step: Offset) -> None:
        self.move_to(self.cursor + step.x * self.per_cell)

    def page(self, direction: int) -> None:
        self.move_to(self.cursor + direction * 8 * self.per_cell)

    def click_at(self, at: Offset) -> bool:
        bin_ = (at.x - 1) * self.per_cell // self.per_bin
        if not 0 <= bin_ < len(self.counts):
            return False
        self.move_to(bin_)
        return True

    def _put_cursor(self, index: int) -> None:
        self.cursor = index
        if self.is_attached:
            self.refresh()

    # Drawing

    def body_line(self, index: int) -> list[Segment]:
        below = self.body_height - index
        if below == 1:
            return [self.brush.segment(f" {self.bin_text(self.cursor)}", "dim")]
        if below == 2:
            return self._marked(level_marks(self._held(), self.glyphs), "changed")
        drawn = columns(self._pooled(), max(self._pooled()), max(1, self.body_height - 2), self.glyphs)
        return self._marked(drawn[index], "accent")

    def _marked(self, text: str, ink: Ink) -> list[Segment]:
        """One line of all cells, each as often as a bin takes cells, the one under the cursor lit."""
        wide = "".join(mark * self.per_bin for mark in text)
        at = self.cursor // self.per_cell * self.per_bin
        here = self.brush.over(self.cursor_ink)
        return [
            self.brush.segment(" "),
            self.brush.segment(wide[:at], ink),
            here.segment(wide[at : at + self.per_bin], ink),
            self.brush.segment(wide[at + self.per_bin :], ink),
        ]

    def _pooled(self) -> list[int]:
        size = self.per_cell
        return [sum(self.counts[start : start + size]) for start in range(0, len(self.counts), size)]

    def _held(self) -> list[int]:
        """How many levels lie in each cell."""
        cells = len(self._pooled())
        width = (self.last - self.first) / len(self.counts) * self.per_cell
        held = [0] * cells
        for level in self.levels:
            held[min(cells - 1, max(0, int((level - self.first) / width)))] += 1
        return held

    def bin_text(self, index: int) -> str:
        """What a bin holds, in words."""
        width = (self.last - self.first) / len(self.counts)
        low = self.first + index * width
        held = sum(low <= level < low + width for level in self.levels)
        levels = "1 level" if held == 1 else f"{held} levels" if held else "no level"
        return f"{low:.2f} to {low + width:.2f}: {self.counts[index]:,} weights, {levels}"

    def copy_text(self) -> str:
        return self.bin_text(self.cursor) if self.counts else ""


def level_marks(held: Sequence[int], glyphs: Glyphs) -> str:
    """One mark for each cell: nothing, a level, or how many there are (`+` for more than nine)."""
    marks = (" " if not many else glyphs.up if many == 1 else str(many) if many < 10 else "+" for many in held)
    return "".join(marks)


__all__ = ["GridBars", "level_marks"]
