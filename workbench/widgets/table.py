"""LineTable: a table of any number of rows that reads only the rows on screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rich.segment import Segment

from workbench.widgets.columns import Column, Placed, lay_row, lay_titles, place
from workbench.widgets.cursor import CursorPane
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Line, plain

MARK_WIDTH = 2


class TableModel(Protocol):
    """Rows by index."""

    @property
    def columns(self) -> Sequence[Column]:
        """The columns, in order; `row` returns one cell for each."""
        ...

    def __len__(self) -> int: ...

    def row(self, index: int) -> Sequence[Line]:
        """Return the cells of row `index`."""
        ...

    def changed(self, index: int) -> bool:
        """Whether this step changed row `index`."""
        ...


class LineTable(CursorPane):
    """A table with a header, a cursor row, and marks on the rows this step changed."""

    ALLOW_SELECT = True
    help_text = (
        "A table. ↑ ↓ or j k move, PgUp PgDn page, Home End jump, Enter opens the row, y copies it. "
        "● marks rows that changed in this step."
    )

    def __init__(
        self,
        model: TableModel | None = None,
        *,
        empty: str = "No rows.",
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(empty=empty, id=id, classes=classes)
        self.model = model
        self.top_lines = 1
        self.quiet = False  # draws no cursor while another pane has the focus: what is selected is not here
        self._placed: tuple[int, list[Placed]] = (-1, [])

    def set_model(self, model: TableModel | None) -> None:
        """Show another model, the cursor where it was as far as there are rows."""
        self.model = model
        self._placed = (-1, [])
        self.items_changed()

    @property
    def hidden_columns(self) -> int:
        """How many columns the width has no room for."""
        return len(self.model.columns) - len(self._columns(self.body_width)) if self.model else 0

    def item_count(self) -> int:
        return len(self.model) if self.model else 0

    def head_lines(self) -> Sequence[list[Segment]]:
        hidden = self.hidden_columns
        mark = f"+{hidden}" if 0 < hidden < 10 else ""
        titles = lay_titles(self._columns(self.body_width), self.brush)
        return [[self.brush.segment(mark.ljust(MARK_WIDTH), "warn"), *titles]]

    def body_line(self, index: int) -> list[Segment]:
        assert self.model is not None
        width = self.body_width
        changed = self.model.changed(index)
        brush = self.brush.over("changed-row") if changed else self.brush
        mark = self.glyphs.changed if changed else " "
        if index == self.cursor and (self.has_focus or not self.quiet):
            brush = self.brush.over(self.cursor_ink)
            mark = self.glyphs.cursor
        row = lay_row(self.model.row(index), self._columns(width), brush)
        used = sum(segment.cell_length for segment in row) + MARK_WIDTH
        ink: Ink = "changed" if changed else "selected-mark"
        return [brush.segment(mark.ljust(MARK_WIDTH), ink), *row, brush.segment(" " * max(0, width - used))]

    def copy_text(self) -> str:
        """Return the row under the cursor, its cells apart by tabs."""
        if self.model is None or not self.item_count():
            return ""
        return "\t".join(plain(cell).strip() for cell in self.model.row(self.cursor))

    def _columns(self, width: int) -> list[Placed]:
        if self._placed[0] != width:
            assert self.model is not None
            self._placed = (width, place(self.model.columns, width - MARK_WIDTH))
        return self._placed[1]
