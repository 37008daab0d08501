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

BEYOND: Final = 1 << 62
"""A position after all others."""

NO_DROPS: Final[Drops] = {}


def held(table: Sequence[int]) -> list[int]:
    """The blocks of a table, without its holes."""
    return [block for block in table if block != HOLE]


def inherited(dropped: Drops, blocks: int, tokens: int) -> dict[int, int]:
    """The drops of a table that begins with the first `blocks` of one with `dropped`, and goes on at `tokens`.

    Its own rows read no hole, also where the first owner's rows at those positions still did.
    """
    return {index: min(position, tokens) for index, position in dropped.items() if index < blocks}


def read_from(dropped: Drops, index: int, position: int) -> bool:
    """Whether the row at `position` reads the block at a table index."""
    return dropped.get(index, BEYOND) > position


def same_before(one: Drops, other: Drops) -> int:
    """The first position whose row reads other blocks under `other` than under `one`: KV before it is equal."""
    differing = ((one.get(index, BEYOND), other.get(index, BEYOND)) for index in one.keys() | other.keys())
    return min((min(pair) for pair in differing if pair[0] != pair[1]), default=BEYOND)
