"""Queue, budget and KV use over steps: columns that are read a part at a time as they come on the screen."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Literal

from workbench.record import Record
from workbench.widgets.inks import Ink

CHUNK = 1_024
CHUNKS_AT_ONCE = 6
ColumnName = Literal["queued", "tokens", "owned_blocks"]
COLUMNS: tuple[ColumnName, ...] = ("queued", "tokens", "owned_blocks")


class StepColumns:
    """Counts of every step; what was not read yet is 0."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._columns: dict[ColumnName, array[int]] = {name: array("i") for name in COLUMNS}
        self._read: set[int] = set()
        self.grow()

    def __len__(self) -> int:
        return len(self._columns["queued"])

    def grow(self) -> None:
        """Take in that there are more steps: the last, incomplete chunk is read again."""
        missing = self._record.last_step + 1 - len(self)
        if missing > 0:
            self._read.discard(max(0, len(self) - 1) // CHUNK)
            for column in self._columns.values():
                column.extend(array("i", bytes(4 * missing)))

    def read(self, start: int, stop: int, chunks: int = CHUNKS_AT_ONCE) -> bool:
        """Read what is missing of the steps `start` to `stop`, so many chunks at most; whether all is there."""
        wanted = range(max(0, start) // CHUNK, -(-min(stop, len(self)) // CHUNK))
        missing = [chunk for chunk in wanted if chunk not in self._read]
        for chunk in missing[:chunks]:
            for counts in self._record.step_counts(chunk * CHUNK, min(len(self), (chunk + 1) * CHUNK)):
                for name in COLUMNS:
                    self._columns[name][counts.step] = getattr(counts, name)
            self._read.add(chunk)
        return len(missing) <= chunks

    def values(self, name: ColumnName, start: int, stop: int) -> Sequence[int]:
        return self._columns[name][start:stop]


class StepSeries:
    """One of the columns as a chart."""

    def __init__(self, columns: StepColumns, column: ColumnName, name: str, ink: Ink, limit: float) -> None:
        self._columns = columns
        self._column: ColumnName = column
        self.name = name
        self.ink: Ink = ink
        self.limit = limit

    def __len__(self) -> int:
        return len(self._columns)

    def values(self, start: int, stop: int) -> Sequence[float]:
        return self._columns.values(self._column, start, stop)

    def written(self, value: float) -> str:
        return f"{value:,.0f}"


def series_of(columns: StepColumns, record: Record) -> list[StepSeries]:
    """The three charts."""
    budget, blocks = record.about.options.token_budget, record.about.num_blocks
    return [
        StepSeries(columns, "queued", "queue", "waiting", 0),
        StepSeries(columns, "tokens", "batch", "prefill", budget),
        StepSeries(columns, "owned_blocks", "KV", "kv-owned", blocks),
    ]


__all__ = ["StepColumns", "StepSeries", "series_of"]
