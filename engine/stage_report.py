"""Where a forward pass stands and what was seen there, as plain data: what step-inside says. No torch."""

from __future__ import annotations

import msgspec

MOST_ROWS = 64
MOST_VALUES = 1 << 16
"""Of a tensor before tiles of its values are pooled."""


class Stats(msgspec.Struct, frozen=True):
    """A tensor in numbers, over its finite values; NaN where it has none.

    `largest` is the value of the largest magnitude, with its sign, at index `at`.
    """

    mean: float
    rms: float
    low: float
    high: float
    norm: float
    largest: float
    at: tuple[int, ...]
    nans: int
    infs: int


class Values(msgspec.Struct, frozen=True):
    """A part of a tensor laid out as `[rows, columns]`: what comes after the first dimension is one row.

    `data` are little-endian float32, one for each tile of `row_step` x `column_step` values from `first_row`,
    `first_column` on: the one of the largest magnitude, with its sign; NaN wins.
    """

    first_row: int
    rows: int
    row_step: int
    first_column: int
    columns: int
    column_step: int
    data: bytes

    @property
    def exact(self) -> bool:
        """Whether every value stands for itself."""
        return self.row_step == self.column_step == 1

    @property
    def tiles(self) -> tuple[int, int]:
        """The shape of `data`."""
        return -(-self.rows // self.row_step), -(-self.columns // self.column_step)


class Window(msgspec.Struct, frozen=True):
    """Which rows and columns of a tensor to look at; a count of 0 takes all from the first on."""

    first_row: int = 0
    rows: int = 0
    first_column: int = 0
    columns: int = 0


class Source(msgspec.Struct, frozen=True):
    """Lines of our own source that ran, by their numbers in `file`: in a function that begins at `start`."""

    file: str
    function: str
    start: int
    text: tuple[str, ...]
    ran: tuple[int, ...]

    @property
    def first(self) -> int:
        return self.ran[0]

    @property
    def last(self) -> int:
        return self.ran[-1]


class Part(msgspec.Struct, frozen=True):
    """A request's rows in a pass: `tokens` of them, for its positions from `position` on."""

    request: str
    position: int
    tokens: int


class Passed(msgspec.Struct, frozen=True):
    """A stage that was looked at: its whole tensor, and each part's rows in numbers, in the order of parts.

    `ns` is the time from the stage before. A part has no numbers where it has no rows: the last stages have
    some only for requests that choose a token.
    """

    layer: int
    stage: str
    dtype: str
    shape: tuple[int, ...]
    ns: int
    stats: tuple[Stats | None, ...]


class Standing(msgspec.Struct, frozen=True):
    """The stage that a pass is halted at, and the rows of one request there; no values where it has no rows."""

    layer: int
    stage: str
    request: str
    shape: tuple[int, ...]
    values: Values | None
    source: tuple[Source, ...]
