"""Heatmap: a labelled matrix as colour, max-pooled when it is larger than the pane, exact under the cursor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
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
from workbench.widgets.zoomwindow import ZoomWindow, fitting

if TYPE_CHECKING:
    from workbench.widgets.pooling import FloatMatrix, LevelMatrix

LABEL_WIDTH = 12
FIELD_WIDTH = 8


@dataclass(frozen=True)
class Matrix:
    """Values [rows, columns] with what to call them; NaN is masked.

    Rows are numbered from `first_row` on; a column stands for `column_step` numbers where values were pooled.
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
    first_row: int = 0
    column_step: int = 1


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
        self.window = fitting((0, 0), 1, 1, 1)
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
        row, column = self.window.value_at(at.y, at.x - self._gutter)
        if at.x < self._gutter or row >= self._shape[0] or column >= self._shape[1]:
            return False
        self.move_to(row, column)
        return True

    def action_zoom(self, direction: int) -> None:
        self.zoom = max(0, self.zoom + direction)
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
            return len(str(self._shape[0])) + 1
        return min(LABEL_WIDTH, self.body_width // 4) + 1

    def _window_at(self, zoom: int) -> ZoomWindow:
        cells = self.body_width - self._gutter
        return fitting(self._shape, self.body_height, cells, self.pen.rows_per_line, zoom)

    def _follow(self) -> None:
        """Fit the window to the pane and the zoom, and keep the cross in it."""
        widest = self._window_at(0)
        self.zoom = min(self.zoom, max(widest.rows_pooled, widest.columns_pooled).bit_length() - 1)
        window = replace(self._window_at(self.zoom), top=self.window.top, left=self.window.left)
        self.window = window.holding(self.row, self.column, self._shape)

    @property
    def pen(self) -> PixelPen:
        """What draws the cells on this screen."""
        return PixelPen(self.glyphs, self.dark, self.colourless)

    # Drawing

    def line_count(self) -> int:
        if self.matrix is None or not self.matrix.values.size:
            return 0
        rows = self.window.map_shape(self._shape)[0] - self.window.top
        return min(self.window.lines, -(-rows // self.window.rows_per_line))

    def content_changed(self) -> None:
        if self.is_attached:
            self._follow()
        super().content_changed()

    def body_line(self, index: int) -> list[Segment]:
        window = self.window
        first = window.first_row(index)
        grid = self._level_grid()
        rows = grid[first : first + window.rows_per_line, window.left : window.left + window.columns].tolist()
        if len(rows) < window.rows_per_line:
            rows.append([0] * len(rows[0]))
        at = window.column_of(self.column)
        crossed = self.row // window.rows_pooled - first
        label = self._row_label(first)
        if not 0 <= crossed < len(rows):
            return [*label, *self._run(rows)]
        cross = self.pen.cell(
            rows[crossed][at], window.cell_width, self.glyphs.crosshair.center(window.cell_width)
        )
        return [
            *label,
            *self._run([row[:at] for row in rows]),
            cross,
            *self._run([row[at + 1 :] for row in rows]),
        ]

    def _run(self, rows: list[list[int]]) -> Iterable[Segment]:
        """Yield one line of one or two rows of map cells."""
        width = self.window.cell_width
        return self.pen.cells(rows[0], width) if len(rows) == 1 else self.pen.halves(rows[0], rows[1], width)

    def head_lines(self) -> Sequence[list[Segment]]:
        gutter = self.brush.segment(" " * self._gutter)
        return [[gutter, *self._column_fields()], [gutter, *self._column_tick()]]

    def foot_lines(self) -> Sequence[list[Segment]]:
        width = self.body_width
        left = cut(self.readout(), width, self.glyphs.ellipsis)
        room = width - cell_len(left)
        right = self._notes(room - 2)
        gap = " " * (room - cell_len(right))
        return [[self.brush.segment(left, "strong"), self.brush.segment(gap), self.brush.segment(right, "dim")]]

    def _notes(self, room: int) -> str:
        """Return what must be known to read the colours, the most important first, as far as there is room."""
        window, times = self.window, self.glyphs.times
        notes = [f"pooled {window.rows_pooled}{times}{window.columns_pooled}"] if window.pooled else []
        notes.append(f"max {self._high:.4g}")
        if self.matrix and self.matrix.scale == "sqrt":
            notes.append("square-root scale")
        if window.pooled:
            notes.append("largest of each tile shown")
        while notes and cell_len("  ".join(notes)) > room:
            notes.pop()
        return "  ".join(notes)

    def readout(self) -> str:
        """Return the cell under the cross in words, its value exact."""
        if self.matrix is None or not self.matrix.values.size:
            return ""
        value = float(self.matrix.values[self.row, self.column])
        shown = "masked" if value != value else f"{self.matrix.provenance}{value:.6g}"
        matrix = self.matrix
        row = self._describe(matrix.row_name, self.row, matrix.row_labels, first=matrix.first_row)
        column = self._describe(matrix.column_name, self.column, matrix.column_labels, step=matrix.column_step)
        return f"{row} {self.glyphs.arrow} {column}   {shown}"

    def copy_text(self) -> str:
        return self.readout()

    def _describe(self, name: str, index: int, labels: Sequence[str], first: int = 0, step: int = 1) -> str:
        label = cut(labels[index], LABEL_WIDTH, self.glyphs.ellipsis) if index < len(labels) else ""
        return f"{name} {first + index * step} {label}".rstrip()

    def _level_grid(self) -> LevelMatrix:
        assert self.matrix is not None
        key = self.window.rows_pooled, self.window.columns_pooled
        if key not in self._levels:
            pooled = max_pool(self.matrix.values, *key)
            self._levels[key] = levels(pooled, self.matrix.low, self._high, self.matrix.scale)
        return self._levels[key]

    def _row_label(self, first: int) -> list[Segment]:
        assert self.matrix is not None
        index = first * self.window.rows_pooled
        here = 0 <= self.row - index < self.window.rows_pooled * self.window.rows_per_line
        label = _label(self.matrix.row_labels, self.row if here else index)
        text = fit(label, self._gutter - 1, "right", self.glyphs.ellipsis)
        return [self.brush.segment(text, self.cursor_ink if here else "dim"), self.brush.segment(" ")]

    def _column_fields(self) -> list[Segment]:
        """Return labels for every few columns, the cross's own in place of the one it stands under."""
        assert self.matrix is not None
        window = self.window
        stride = -(-FIELD_WIDTH // window.cell_width)
        count = min(window.columns, window.map_shape(self._shape)[1] - window.left)
        at = window.column_of(self.column)
        segments = []
        for field in range(0, count, stride):
            here = field <= at < field + stride
            index = self.column if here else (window.left + field) * window.columns_pooled
            label = _label(self.matrix.column_labels, index)
            text = fit(label, stride * window.cell_width - 1, ellipsis=self.glyphs.ellipsis)
            segments += [self.brush.segment(text, self.cursor_ink if here else "dim"), self.brush.segment(" ")]
        return segments

    def _column_tick(self) -> list[Segment]:
        at = self.window.column_of(self.column) * self.window.cell_width + (self.window.cell_width - 1) // 2
        return [self.brush.segment(" " * at), self.brush.segment(self.glyphs.down, "selected-mark")]


def _label(labels: Sequence[str], index: int) -> str:
    return labels[index] if index < len(labels) else str(index)
