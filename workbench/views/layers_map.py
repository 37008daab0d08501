"""StageMap: a stage's values by magnitude, with their sign and place below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.views.layers_numbers import number
from workbench.views.layers_pass import Seen
from workbench.widgets.heatmap import LABEL_WIDTH, Heatmap, Matrix

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

FOLDS = (32, 64, 128, 256)
"""Columns of a single row that is laid out in several lines: as many as the pane has room for, or more where
there are so many values that both ways must be pooled."""


class StageMap(Heatmap):
    """One stage's values. Brighter is larger, whatever the sign; NaN and infinity are brightest."""

    help_text = (
        "The values of a stage: brighter is larger, whatever the sign. Arrows or hjkl move the cross, + - zoom; "
        "the value below has its sign and its place. A tile that stands for several values shows the largest."
    )
    seen: Seen | None = None
    halted = False  # the pass stands there: it can be asked for more of its values
    _signed: Floats | None = None
    _mark = ""

    def show_seen(self, seen: Seen | None, mark: str = "") -> None:
        """Show values; `mark` is written before each that was not observed."""
        if (seen, mark) == (self.seen, self._mark) and (self.matrix is not None or seen is None):
            return
        self.seen, self._mark = seen, mark
        if seen is None:
            self._signed = None
            self.set_matrix(None)
            return
        self._lay_out(seen)

    def on_resize(self) -> None:
        if self.seen is not None and self._signed is not None and self._fold(self.seen) != self._signed.shape[1]:
            self._lay_out(self.seen)
        super().on_resize()

    def _lay_out(self, seen: Seen) -> None:
        self._signed = _laid_out(seen, self._fold(seen))
        self.set_matrix(_matrix(self._signed, seen))

    def _fold(self, seen: Seen) -> int:
        """How many values stand side by side: all of a row, one head of a single row, or a part of it."""
        tiles = seen.values.tiles
        if tiles[0] > 1:
            return tiles[1]
        if len(seen.shape) == 3 and seen.values.exact:
            return seen.shape[-1]
        room = max(self.body_width - LABEL_WIDTH - 1, (2 * tiles[1]) ** 0.5)
        return max((fold for fold in FOLDS if fold <= room), default=FOLDS[0])

    def readout(self) -> str:
        if self.seen is None or self._signed is None or not self._signed.size:
            return ""
        value = float(self._signed[self.row, self.column])
        place, padding = self._place()
        if padding:
            return "past the end"
        exact = self._exact() if self.seen.closer is not None else None
        if exact is not None:
            return f"{place}   {exact}"
        pooled = (
            "" if self.seen.values.exact else f"  ~ largest of its tile{', enter shows it exactly' * self.halted}"
        )
        return f"{place}   {self._mark}{number(value)}{pooled}"

    def tile(self) -> tuple[int, int, int, int]:
        """The rows and columns under the cross: first and count of both."""
        assert self.seen is not None
        values = self.seen.values
        row, column = self.row * values.row_step, self.column * values.column_step
        return (
            values.first_row + row, min(values.row_step, values.rows - row),
            values.first_column + column, min(values.column_step, values.columns - column),
        )  # fmt: skip

    def _exact(self) -> str | None:
        """What was asked for exactly, when it is the tile under the cross."""
        import numpy as np

        assert self.seen is not None
        closer = self.seen.closer
        if closer is None or (closer.first_row, closer.rows, closer.first_column, closer.columns) != self.tile():
            return None
        values = np.frombuffer(closer.data, "<f4")
        shown = " ".join(number(float(value)) for value in values[:8])
        return f"{shown} …" if len(values) > 8 else shown

    def _place(self) -> tuple[str, bool]:
        """Where the cross is, in words of the tensor, and whether nothing is there."""
        assert self.seen is not None
        seen, values = self.seen, self.seen.values
        if values.rows == 1:
            width = self._signed.shape[1] if self._signed is not None else 1
            index = (self.row * width + self.column) * values.column_step
            name = f"value {index}" if len(seen.shape) < 3 else f"head {index // seen.shape[-1]} value"
            place = name if len(seen.shape) < 3 else f"{name} {index % seen.shape[-1]}"
            return f"row {seen.position} {place}", index >= values.columns
        row = seen.position + values.first_row + self.row * values.row_step
        column = values.first_column + self.column * values.column_step
        if len(seen.shape) == 3:
            return f"row {row} head {column // seen.shape[-1]} value {column % seen.shape[-1]}", False
        return f"row {row} value {column}", False


def _laid_out(seen: Seen, fold: int) -> Floats:
    """The tiles as a matrix; a single row is folded."""
    import numpy as np

    tiles: Floats = np.frombuffer(seen.values.data, "<f4").reshape(seen.values.tiles)
    if seen.values.rows > 1:
        return tiles
    padded: Floats = np.pad(tiles[0], (0, -tiles.shape[1] % fold), constant_values=np.nan).reshape(-1, fold)
    return padded


def _matrix(signed: Floats, seen: Seen) -> Matrix:
    import numpy as np

    size = np.abs(signed)
    count = seen.values.tiles[1] if seen.values.rows == 1 else size.size
    flat = size.ravel()
    flat[:count][np.isnan(flat[:count])] = np.inf  # the padding stays NaN, which is drawn as nothing
    step = 1 if seen.values.rows == 1 else seen.values.column_step
    first = 0 if seen.values.rows == 1 else seen.position
    labels = _row_labels(size.shape, seen)
    return Matrix(size, row_labels=labels, first_row=first, column_step=step)


def _row_labels(shape: tuple[int, ...], seen: Seen) -> list[str]:
    values = seen.values
    if values.rows > 1:
        return [str(seen.position + values.first_row + row * values.row_step) for row in range(shape[0])]
    if len(seen.shape) == 3 and values.exact:
        return [f"head {row}" for row in range(shape[0])]
    return [str(row * shape[1] * values.column_step) for row in range(shape[0])]


__all__ = ["StageMap"]
