"""Matrices made small enough to draw: max-pooling (a mean would hide attention sinks) and 64 levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from workbench.widgets.ramp import LEVELS

if TYPE_CHECKING:
    import numpy as np

    FloatMatrix = np.ndarray[tuple[int, int], np.dtype[np.floating[Any]]]
    LevelMatrix = np.ndarray[tuple[int, int], np.dtype[np.uint8]]

Scale = Literal["linear", "sqrt"]


def max_pool(values: FloatMatrix, rows: int, columns: int) -> FloatMatrix:
    """Return the largest value of every `rows` by `columns` tile; NaN counts as nothing, edges are smaller."""
    import numpy as np

    if rows == 1 and columns == 1:
        return values
    filled = np.nan_to_num(values, nan=-np.inf)
    down = np.maximum.reduceat(filled, np.arange(0, values.shape[0], rows), axis=0)
    pooled = np.maximum.reduceat(down, np.arange(0, values.shape[1], columns), axis=1)
    return np.where(np.isneginf(pooled), np.nan, pooled)


def levels(values: FloatMatrix, low: float, high: float, scale: Scale = "linear") -> LevelMatrix:
    """Return values as levels 0..63 between `low` and `high`; NaN becomes 0."""
    import numpy as np

    span = high - low
    if not span > 0:
        return np.zeros(values.shape, dtype=np.uint8)
    share = np.clip(np.nan_to_num((values - low) / span), 0.0, 1.0)
    if scale == "sqrt":
        share = np.sqrt(share)
    rounded: LevelMatrix = np.rint(share * (LEVELS - 1)).astype(np.uint8)
    return rounded


def thumbnail(values: FloatMatrix, rows: int, columns: int) -> FloatMatrix:
    """Return `values` in exactly `rows` by `columns`: max-pooled where larger, repeated where smaller."""
    import numpy as np

    height, width = values.shape
    pooled = max_pool(values, max(1, -(-height // rows)), max(1, -(-width // columns)))
    down = np.arange(rows) * pooled.shape[0] // rows
    across = np.arange(columns) * pooled.shape[1] // columns
    return pooled[down][:, across]


def highest(values: FloatMatrix) -> float:
    """Return the largest finite value, 0 where there is none."""
    import numpy as np

    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else 0.0
