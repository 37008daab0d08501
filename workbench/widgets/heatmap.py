"""Heatmap: a labelled matrix as colour, max-pooled when it is larger than the pane, exact under the cursor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Offset

from workbench.widgets.cells import cell_len, cut, fit
from workbench.widgets.messages import CellMoved
from workbench.widgets.pane import LinePane
from workbench.widgets.pixels import PixelPen
from workbench.widgets.pooling import Scale, highest, levels, max_pool

if TYPE_CHECKING:
    from workbench.widgets.pooling import FloatMatrix, LevelMatrix

LABEL_WIDTH = 12
FIELD_WIDTH = 8
WIDEST_CELL = 6


@dataclass(frozen=True)
class Matrix:
    """Values [rows, columns] with what to call them; NaN is masked.

    `provenance` is the mark of a value that was not observed: `≈` recomputed, `~` approximated.
    """

    values: FloatMatrix
    row_labels: Sequence[str] = ()
    column_labels: Sequence[str] = ()
    row_name: str = "row"
    column_name: str = "column"
    low: float = 0.0
    high: float | None = None
    scale: Scale = "linear"
    provenance: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """What of the matrix is on screen and how: pooling factors, first row and column, cells per column."""

    rows_pooled: int
    columns_pooled: int
    rows_per_line: int
    cell_width: int
    lines: int
    columns: int


class Heatmap(LinePane):
    """One matrix. Arrows move a cursor whose exact value stands below; + and - zoom into pooled maps."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "zoom(1)", "Zoom in", show=False, id="heatmap.zoom_in"),
        Binding("minus", "zoom(-1)", "Zoom out", show=False, id="heatmap.zoom_out"),
    ]
    help_text = (
        "A matrix as a heatmap. Arrows or hjkl move the cross, PgUp PgDn page, Home End jump along the row, "
        "+ - zoom. The value below is exact; a map larger than the pane shows the largest value of each tile."
    )

    def __init__(
        self,
        matrix: Matrix | None = None,
        *,
        empty: str = "No matrix.",
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(empty=empty, id=id, classes=classes)
        self.matrix = matrix
        self.row = self.column = 0
        self.zoom = 0
        self.top_lines, self.bottom_lines = 2, 1
        self._origin = Offset(0, 0)
        self._levels: dict[tuple[int, int], LevelMatrix] = {}
        self._high = 1.0
        self.set_matrix(matrix)

    def set_matrix(self, matrix: Matrix | None) -> None:
        """Show another matrix, the cursor where it was as far as that goes."""
        self.matrix = matrix
        self._levels = {}
        if matrix is not None and matrix.values.size:
            self._high = highest(matrix.values) if matrix.high is None else matrix.high
            self.row = min(self.row, matrix.values.shape[0] - 1)
            self.column = min(self.column, matrix.values.shape[1] - 1)
        self.content_changed()

    # Cursor

    def show_cell(self, row: int, column: int) -> None:
        """Put the cross on a cell, telling nobody."""
        if self.matrix is None or not self.matrix.values.size:
            return
        rows, columns = self.matrix.values.shape
        self.row, self.column = min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)
        if self.is_attached:
            self._follow()
            self.refresh()

    def move_to(self, row: int, column: int) -> None:
        """Put the cross on a cell for a person, and say so if that moved it."""
        before = self.row, self.column
        self.show_cell(row, column)
        if (self.row, self.column) != before:
            self.post_message(CellMoved(self, self.row, self.column))

    def move(self, step: Offset) -> None:
        window = self.window
        self.move_to(self.row + step.y * window.rows_pooled, self.column + step.x * window.columns_pooled)

    def edge(self, direction: int) -> None:
        self.move_to(self.row, 0 if direction < 0 else self._shape[1] - 1)

    def click_at(self, at: Offset) -> bool:
        window, shape = self.window, self._shape
        column = (self._origin.x + (at.x - self._gutter) // window.cell_width) * window.columns_pooled
        row = (self._origin.y + at.y * window.rows_per_line) * window.rows_pooled
        if at.x < self._gutter or row >= shape[0] or column >= shape[1]:
            return False
        self.move_to(row, column)
        return True

    def action_zoom(self, direction: int) -> None:
        self.zoom = min(max(0, self.zoom + direction), self._deepest_zoom)
        self._follow()
        self.refresh()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.move(Offset(0, 2))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.move(Offset(0, -2))

    def on_resize(self) -> None:
        super().on_resize()
        self._follow()

    # Geometry

    @property
    def _shape(self) -> tuple[int, int]:
        return self.matrix.values.shape if self.matrix is not None else (0, 0)

    @property
    def _gutter(self) -> int:
        if self.matrix is None or not self.matrix.row_labels:
            return 0
        return min(LABEL_WIDTH, self.body_width // 4) + 1

    @property
    def _deepest_zoom(self) -> int:
        fitting = self._window_at(0)
        return max(fitting.rows_pooled, fitting.columns_pooled).bit_length() - 1

    @property
    def window(self) -> Window:
        """How the matrix is laid on the pane at the current zoom."""
        return self._window_at(min(self.zoom, self._deepest_zoom) if self.zoom else 0)

    def _window_at(self, zoom: int) -> Window:
        rows, columns = self._shape
        height, width = max(1, self.body_height), max(1, self.body_width - self._gutter)
        rows_per_line = 1 if rows <= height else self.pen.rows_per_line
        rows_pooled = max(1, -(-rows // (height * rows_per_line)) >> zoom)
        columns_pooled = max(1, -(-columns // width) >> zoom)
        widest = WIDEST_CELL // rows_per_line
        cell_width = min(widest, max(1, width // max(1, columns))) if columns_pooled == 1 else 1
        return Window(rows_pooled, columns_pooled, rows_per_line, cell_width, height, width // cell_width)

    @property
    def pen(self) -> PixelPen:
        """What draws the cells on this screen."""
        return PixelPen(self.glyphs, self.dark, self.colourless)

    def _follow(self) -> None:
        """Move the zoom window as little as keeps the cross in it."""
        window = self.window
        row, column = self.row // window.rows_pooled, self.column // window.columns_pooled
        rows, columns = -(-self._shape[0] // window.rows_pooled), -(-self._shape[1] // window.columns_pooled)
        self._origin = Offset(
            _slide(self._origin.x, column, window.columns, columns),
            _slide(self._origin.y, row, window.lines * window.rows_per_line, rows),
        )

    # Drawing

    def line_count(self) -> int:
        if self.matrix is None or not self.matrix.values.size:
            return 0
        window = self.window
        pooled_rows = -(-self._shape[0] // window.rows_pooled) - self._origin.y
        return min(window.lines, -(-pooled_rows // window.rows_per_line))

    def content_changed(self) -> None:
        if self.is_attached:
            self._follow()
        super().content_changed()

    def body_line(self, index: int) -> list[Segment]:
        window = self.window
        first = self._origin.y + index * window.rows_per_line
        columns = slice(self._origin.x, self._origin.x + window.columns)
        grid = self._level_grid(window)
        row = grid[first, columns].tolist()
        label = self._row_label(first, window)
        if window.rows_per_line == 1:
            return [*label, *self._cells(row, first, window)]
        below = grid[first + 1, columns].tolist() if first + 1 < len(grid) else [0] * len(row)
        return [*label, *self._halves(row, below, first, window)]

    def _cells(self, row: list[int], first: int, window: Window) -> Iterable[Segment]:
        at = self.column // window.columns_pooled - self._origin.x
        if self.row // window.rows_pooled != first or not 0 <= at < len(row):
            return self.pen.cells(row, window.cell_width)
        mark = self.glyphs.crosshair.center(window.cell_width)
        cross = self.pen.cell(row[at], window.cell_width, mark)
        return [
            *self.pen.cells(row[:at], window.cell_width),
            cross,
            *self.pen.cells(row[at + 1 :], window.cell_width),
        ]

    def _halves(self, top: list[int], bottom: list[int], first: int, window: Window) -> list[Segment]:
        at = self.column // window.columns_pooled - self._origin.x
        below, width = self.row // window.rows_pooled - first, window.cell_width
        if below not in (0, 1) or not 0 <= at < len(top):
            return list(self.pen.halves(top, bottom, width))
        level = bottom[at] if below else top[at]
        return [
            *self.pen.halves(top[:at], bottom[:at], width),
            self.pen.cell(level, width, self.glyphs.crosshair.center(width)),
            *self.pen.halves(top[at + 1 :], bottom[at + 1 :], width),
        ]

    def head_lines(self) -> Sequence[list[Segment]]:
        window = self.window
        gutter = self.brush.segment(" " * self._gutter)
        return [[gutter, *self._column_fields(window)], [gutter, *self._column_ticks(window)]]

    def foot_lines(self) -> Sequence[list[Segment]]:
        window, width = self.window, self.body_width
        left = cut(self.readout(), width, self.glyphs.ellipsis)
        room = width - cell_len(left)
        right = self._notes(window, room - 2)
        gap = " " * (room - cell_len(right))
        return [[self.brush.segment(left, "strong"), self.brush.segment(gap), self.brush.segment(right, "dim")]]

    def _notes(self, window: Window, room: int) -> str:
        """Return what must be known to read the colours, as much of it as there is room for."""
        notes = []
        if window.rows_pooled * window.columns_pooled > 1:
            notes.append(f"pooled {window.rows_pooled}{self.glyphs.times}{window.columns_pooled}, largest shown")
        notes.append(f"max {self._high:.4g}")
        if self.matrix and self.matrix.scale == "sqrt":
            notes.append("square-root scale")
        while notes and cell_len("  ".join(notes)) > room:
            notes.pop()
        return "  ".join(notes)

    def readout(self) -> str:
        """Return the cell under the cross in words, its value exact."""
        if self.matrix is None or not self.matrix.values.size:
            return ""
        value = float(self.matrix.values[self.row, self.column])
        shown = "masked" if value != value else f"{self.matrix.provenance}{value:.6g}"
        row = self._describe(self.matrix.row_name, self.row, self.matrix.row_labels)
        column = self._describe(self.matrix.column_name, self.column, self.matrix.column_labels)
        return f"{row} {self.glyphs.arrow} {column}   {shown}"

    def copy_text(self) -> str:
        return self.readout()

    def _describe(self, name: str, index: int, labels: Sequence[str]) -> str:
        label = cut(labels[index], LABEL_WIDTH, self.glyphs.ellipsis) if index < len(labels) else ""
        return f"{name} {index} {label}".rstrip()

    def _level_grid(self, window: Window) -> LevelMatrix:
        assert self.matrix is not None
        key = window.rows_pooled, window.columns_pooled
        if key not in self._levels:
            pooled = max_pool(self.matrix.values, *key)
            self._levels[key] = levels(pooled, self.matrix.low, self._high, self.matrix.scale)
        return self._levels[key]

    def _row_label(self, first: int, window: Window) -> list[Segment]:
        assert self.matrix is not None
        if not self._gutter:
            return []
        index = first * window.rows_pooled
        here = 0 <= self.row - index < window.rows_pooled * window.rows_per_line
        index = self.row if here else index
        text = fit(self.matrix.row_labels[index], self._gutter - 1, "right", self.glyphs.ellipsis)
        return [self.brush.segment(text, self.cursor_ink if here else "dim"), self.brush.segment(" ")]

    def _column_fields(self, window: Window) -> list[Segment]:
        """Labels for every few columns, the cross's own label in place of the one it stands under."""
        assert self.matrix is not None
        stride = max(1, -(-FIELD_WIDTH // window.cell_width))
        count = -(-self._shape[1] // window.columns_pooled) - self._origin.x
        at = self.column // window.columns_pooled - self._origin.x
        segments = []
        for field in range(0, min(window.columns, count), stride):
            here = field <= at < field + stride
            index = self.column if here else (self._origin.x + field) * window.columns_pooled
            label = self._column_label(index)
            text = fit(label, stride * window.cell_width - 1, ellipsis=self.glyphs.ellipsis)
            segments += [self.brush.segment(text, self.cursor_ink if here else "dim"), self.brush.segment(" ")]
        return segments

    def _column_label(self, index: int) -> str:
        assert self.matrix is not None
        labels = self.matrix.column_labels
        return labels[index] if index < len(labels) else str(index)

    def _column_ticks(self, window: Window) -> list[Segment]:
        at = (self.column // window.columns_pooled - self._origin.x) * window.cell_width
        at += (window.cell_width - 1) // 2
        return [self.brush.segment(" " * at), self.brush.segment(self.glyphs.down, "selected-mark")]


def _slide(origin: int, position: int, room: int, total: int) -> int:
    """Return the window start nearest to `origin` that shows `position` and wastes no room at the end."""
    start = min(max(origin, position - room + 1), position)
    return max(0, min(start, total - room))
