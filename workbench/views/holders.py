"""Who holds a block: the requests whose tables list it."""

from __future__ import annotations

from collections.abc import Sequence

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


def named(state: State, requests: Sequence[str]) -> list[str]:
    """The requests by their ids; of a beam with the sum of its output's log-probabilities."""
    return [_named(state, request) for request in requests]


def _named(state: State, request: str) -> str:
    live = state.requests.get(request)
    if live is None or live.search is None or not live.output_tokens:
        return request
    return f"{request} ({live.score:.2f})"


__all__ = ["holders", "named"]
