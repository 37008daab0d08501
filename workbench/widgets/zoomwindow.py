"""ZoomWindow: which part of a matrix is on screen, how far it is pooled, and which cell lies where."""

from __future__ import annotations

from dataclasses import dataclass, replace

WIDEST_CELL = 6

Shape = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ZoomWindow:
    """`lines` lines and `columns` map columns, from pooled row `top` and pooled column `left` on.

    A map cell is the largest of `rows_pooled` by `columns_pooled` values and takes `cell_width` screen cells; a
    line holds `rows_per_line` rows of map cells.
    """

    rows_pooled: int
    columns_pooled: int
    rows_per_line: int
    cell_width: int
    lines: int
    columns: int
    top: int = 0
    left: int = 0

    @property
    def pooled(self) -> bool:
        """Whether a map cell stands for more than one value."""
        return self.rows_pooled * self.columns_pooled > 1

    def map_shape(self, shape: Shape) -> Shape:
        """Return the rows and columns of the whole map."""
        return -(-shape[0] // self.rows_pooled), -(-shape[1] // self.columns_pooled)

    def holding(self, row: int, column: int, shape: Shape) -> ZoomWindow:
        """Return this window moved as little as brings a value into it and wastes no room at the ends."""
        rows, columns = self.map_shape(shape)
        top = _slide(self.top, row // self.rows_pooled, self.lines * self.rows_per_line, rows)
        left = _slide(self.left, column // self.columns_pooled, self.columns, columns)
        return replace(self, top=top, left=left)

    def first_row(self, line: int) -> int:
        """Return the pooled row at the top of a line."""
        return self.top + line * self.rows_per_line

    def column_of(self, column: int) -> int:
        """Return the map column, counted from the left of the window, that a value lies in."""
        return column // self.columns_pooled - self.left

    def value_at(self, line: int, cell: int) -> Shape:
        """Return the row and column of the first value under a screen cell."""
        column = self.left + cell // self.cell_width
        return self.first_row(line) * self.rows_pooled, column * self.columns_pooled


def fitting(shape: Shape, lines: int, cells: int, rows_per_line: int, zoom: int = 0) -> ZoomWindow:
    """Return the window that shows all of `shape` on `lines` by `cells`, its pooling halved `zoom` times."""
    rows, columns = shape
    lines, cells = max(1, lines), max(1, cells)
    rows_per_line = 1 if rows <= lines else rows_per_line
    rows_pooled = max(1, -(-rows // (lines * rows_per_line)) >> zoom)
    columns_pooled = max(1, -(-columns // cells) >> zoom)
    widest = WIDEST_CELL // rows_per_line if columns_pooled == 1 else 1
    cell_width = max(1, min(widest, cells // max(1, columns)))
    return ZoomWindow(rows_pooled, columns_pooled, rows_per_line, cell_width, lines, cells // cell_width)


def _slide(origin: int, position: int, room: int, total: int) -> int:
    start = min(max(origin, position - room + 1), position)
    return max(0, min(start, total - room))
