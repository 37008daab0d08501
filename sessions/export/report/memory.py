"""The KV blocks of a report: how each was before the first step, and every change since."""

from __future__ import annotations

from collections import defaultdict
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
        for block in request.table:
            found[block].append(request.id)
    return sorted(found.items())


def _changes(excerpt: Excerpt) -> list[tuple[int, list[list[Any]]]]:
    found = []
    for step in excerpt.step_rows():
        rows = excerpt.block_changes(step.step)
        if rows:
            changes = [
                [row.block, row.change, row.request, row.ref_count, STATES.index(row.state)] for row in rows
            ]
            found.append((step.step, changes))
    return found
