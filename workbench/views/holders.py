"""Who holds a block: the requests whose tables list it."""

from __future__ import annotations

from engine.state import State


def holders(state: State, block: int) -> list[str]:
    """Ids of the requests that hold `block`, in the order they began to run; costs a look at each of them."""
    if not state.blocks.ref_count[block]:
        return []
    index = state.blocks.index[block]
    return [
        request.id
        for request in state.running.values()
        if index < len(request.table) and request.table[index] == block
    ]


__all__ = ["holders"]
