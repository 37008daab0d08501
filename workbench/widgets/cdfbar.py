"""CdfBar: the draw on the cumulative distribution it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from rich.segment import Segment
from textual.geometry import Offset

from workbench.widgets.cells import fit
from workbench.widgets.cursor import CursorPane
from workbench.widgets.glyphs import Glyphs
from workbench.widgets.inks import Ink


class Share(NamedTuple):
    """A candidate's interval on the cumulative distribution; `quiet` ones stand for several, or for none."""

    label: str
    probability: float
    quiet: bool = False


class CdfBar(CursorPane):
    """The kept candidates as intervals from 0 to 1, most probable first, and the draw that fell on one."""

    help_text = (
        "The cumulative distribution the token was drawn from: an interval for each kept candidate, the most "
        "probable first. The mark is the draw; it falls in the chosen token's interval. ← → select a candidate."
    )

    def __init__(
        self,
        *,
        empty: str = "No draw: this token was chosen greedily.",
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(empty=empty, id=id, classes=classes)
        self.shares: Sequence[Share] = ()
        self.draw: float | None = None
        self._chosen: int | None = None

    def set_draw(self, shares: Sequence[Share], draw: float | None, chosen: int | None = None) -> None:
        """Show another distribution and the draw `u` on it; `chosen` says which share holds it."""
        self.shares, self.draw, self._chosen = shares, draw, chosen
        self.cursor = self.chosen if draw is not None else 0
        self.items_changed()

    @property
    def chosen(self) -> int:
        """The candidate whose interval holds the draw."""
        if self._chosen is not None:
            return self._chosen
        edge = 0.0
        for index, share in enumerate(self.shares):
            edge += share.probability
            if self.draw is not None and self.draw < edge:
                return index
        return max(0, len(self.shares) - 1)

    def item_count(self) -> int:
        return len(self.shares)

    def line_count(self) -> int:
        return 3 if self.shares else 0

    def line_of(self, index: int) -> int:
        return 1 if index >= 0 else -1

    def show_line(self, line: int) -> None:
        """All three lines are always there."""

    @property
    def _room(self) -> int:
        return max(1, self.body_width - 4)

    def _cells(self) -> list[int]:
        """Return each candidate's cells; the chosen one has at least one, others may have none."""
        edges, total = [0], 0.0
        for index, share in enumerate(self.shares):
            total += share.probability
            wanted = round(total * self._room)
            if self.draw is not None and index == self.chosen:
                wanted = max(wanted, edges[-1] + 1)
                edges[-1] = min(edges[-1], self._room - 1)
            edges.append(min(self._room, max(wanted, edges[-1])))
        return [after - before for before, after in pairwise(edges)]

    def _mark_cell(self, draw: float) -> int:
        """Return the cell of the draw: rounding never puts it outside the interval it fell in."""
        cells = self._cells()
        start = sum(cells[: self.chosen])
        return min(max(int(draw * self._room), start), start + max(1, cells[self.chosen]) - 1)

    def move(self, step: Offset) -> None:
        if step.x:
            self.move_to(self.cursor + step.x)

    def click_at(self, at: Offset) -> bool:
        edge = 2
        for index, cells in enumerate(self._cells()):
            edge += cells
            if 2 <= at.x < edge:
                self.move_to(index)
                return True
        return False

    def body_line(self, index: int) -> list[Segment]:
        return (self._mark_line, self._interval_line, self._label_line)[index]()

    def _mark_line(self) -> list[Segment]:
        if self.draw is None:
            return []
        at = 2 + self._mark_cell(self.draw)
        mark, text = self.glyphs.draw_mark, f"u = {self.draw:.4f}"
        if at + 2 + len(text) <= self.body_width:
            shown = f"{mark} {text}"
        else:
            shown = f"{text} {mark}"
            at = max(0, at + 1 - len(shown))
        return [self.brush.segment(" " * at), self.brush.segment(shown, "changed")]

    def _interval_line(self) -> list[Segment]:
        segments = [self.brush.segment("0 ", "dim")]
        for index, cells in enumerate(self._cells()):
            if cells:
                segments.append(self.brush.segment(interval(cells, self.glyphs), self._ink(index)))
        used = sum(segment.cell_length for segment in segments)
        rest = self.brush.segment(" " * max(0, self._room + 2 - used))
        return [*segments, rest, self.brush.segment(" 1", "dim")]

    def _label_line(self) -> list[Segment]:
        segments = [self.brush.segment("  ")]
        for index, cells in enumerate(self._cells()):
            label = self.shares[index].label if cells > 3 else ""
            text = fit(label, cells, "center", self.glyphs.ellipsis)
            segments.append(self.brush.segment(text, self._ink(index)))
        return segments

    def _ink(self, index: int) -> Ink:
        if index == self.cursor:
            return self.cursor_ink
        if index == self.chosen and self.draw is not None:
            return "changed"
        if self.shares[index].quiet:
            return "faint"
        return "accent" if index % 2 == 0 else "dim"

    def copy_text(self) -> str:
        if not self.shares:
            return ""
        share = self.shares[self.cursor]
        return f"{share.label} {share.probability:.6g}"


def interval(cells: int, glyphs: Glyphs) -> str:
    """Return an interval of `cells` cells with its ends marked."""
    if cells == 1:
        return glyphs.separator
    return glyphs.interval_open + glyphs.interval_fill * (cells - 2) + glyphs.interval_close
