"""The KV blocks of a report: how each was before the first step, and every change since."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby
from typing import Any, Final

from engine.state import State
from sessions.export.excerpt import Excerpt

STATES: Final = ("free", "cached", "owned")


def memory_part(excerpt: Excerpt) -> dict[str, Any]:
    """`states` has a digit a block (0 free, 1 cached, 2 owned), `holders` who held which before the first step;

    `changes` has `[step, [[block, change, request, ref count, state], ...]]` for each step that changed any.
    """
    before = excerpt.state_at(excerpt.first_step - 1)
    blocks = before.blocks
    return {
        "num_blocks": blocks.num_blocks,
        "block_size": blocks.block_size,
        "states": "".join(str(STATES.index(blocks.state(block))) for block in range(blocks.num_blocks)),
        "holders": _holders(before),
        "changes": _changes(excerpt),
    }


def _holders(state: State) -> list[tuple[int, list[str]]]:
    found: defaultdict[int, list[str]] = defaultdict(list)
    for request in state.requests.values():
        for block in request.held_blocks:
            found[block].append(request.id)
    return sorted(found.items())


def _changes(excerpt: Excerpt) -> list[tuple[int, list[list[Any]]]]:
    columns = "step, block, change, request, ref_count, state"
    rows = excerpt.select(f"SELECT {columns} {excerpt.rows_of_steps('blocks')} ORDER BY seq")
    return [(step, [_change(*row) for row in group]) for step, group in groupby(rows, key=lambda row: row[0])]


def _change(_step: int, block: int, change: str, request: str | None, refs: int, state: str) -> list[Any]:
    return [block, change, request, refs, STATES.index(state)]
