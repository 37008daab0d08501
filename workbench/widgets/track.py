"""Track: how steps lie on a row of cells: which is first, and how many a cell holds or covers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Track:
    """`cells` cells beginning at step `first`; one of `per_cell` and `per_step` is 1."""

    first: int
    cells: int
    per_cell: int = 1
    per_step: int = 1

    @property
    def steps(self) -> int:
        """How many steps the cells can show."""
        return self.cells * self.per_cell // self.per_step

    def span(self, cell: int) -> tuple[int, int]:
        """Return the steps (start, stop) under a cell."""
        start = self.first + cell * self.per_cell // self.per_step
        return start, start + self.per_cell

    def cell_of(self, step: int) -> int:
        """Return the first cell of a step; outside 0..cells when it is not on the track."""
        return (step - self.first) * self.per_step // self.per_cell

    def step_at(self, cell: int) -> int:
        """Return the last step under a cell, so that seeking to it includes what the cell shows."""
        return self.span(cell)[1] - 1

    def showing(self, step: int, total: int) -> Track:
        """Return this track moved as little as brings `step` into view and leaves no empty end."""
        first = min(max(self.first, step - self.steps + 1), step)
        first = max(0, min(first, total - self.steps))
        aligned = min(-(-first // self.per_cell), step // self.per_cell) * self.per_cell
        return Track(aligned, self.cells, self.per_cell, self.per_step)


def label_width(width: int) -> int:
    """Return the cells before the first step, the same for all panes of a width, so that their steps line up."""
    return 16 if width >= 70 else 10


def zoomed(cells: int, zoom: int) -> Track:
    """Return a track at a zoom: 0 is a cell a step, -1 two steps a cell, 1 two cells a step."""
    cells = max(1, cells)
    return Track(0, cells, per_cell=1 << max(0, -zoom), per_step=1 << max(0, zoom))


def ruler(track: Track, total: int, reserved: range = range(0), spacing: int = 10) -> str:
    """Return step numbers at round steps, each starting over its step, none touching the `reserved` cells."""
    stride = _round_up(spacing * track.per_cell / track.per_step)
    text = ""
    start = -(-track.first // stride) * stride
    for step in range(start, min(total, track.first + track.steps), stride):
        cell, end = track.cell_of(step), track.cell_of(step) + len(str(step))
        taken = reserved and cell <= reserved.stop and end >= reserved.start
        if cell >= len(text) and end <= track.cells and not taken:
            text = text.ljust(cell) + str(step) + " "
    return text[: track.cells].ljust(track.cells)


def _round_up(value: float) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, 50, … that is at least `value`."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= value:
                return factor * power
        power *= 10
