"""Holes in a block table: places whose block a KV policy dropped, and which rows still read it.

    table     [ 4 ][ . ][ . ][ 9 ][ 2 ]        `.` is a hole
    dropped          1:48 2:64                 rows from position 48 on do not see block 1

A table keeps its length, so that an index stays a position divided by the block size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

HOLE: Final = -1
"""Stands in a table where a block was dropped."""

Drops = Mapping[int, int]
"""By table index, the first position whose row does not read that block; earlier rows did."""

NO_DROPS: Final[Drops] = {}


def held(table: Sequence[int]) -> list[int]:
    """The blocks of a table, without its holes."""
    return [block for block in table if block != HOLE]


def inherited(dropped: Drops, blocks: int, tokens: int) -> dict[int, int]:
    """The drops of a table that begins with the first `blocks` of one with `dropped`, and goes on at `tokens`.

    Its own rows read no hole, also where the first owner's rows at those positions still did.
    """
    return {index: min(position, tokens) for index, position in dropped.items() if index < blocks}


def dropped_at(dropped: Drops, position: int) -> set[int]:
    """The table indexes that the row at `position` does not read."""
    return {index for index, first in dropped.items() if first <= position}
