"""What events of speculative decoding do to the bookkeeping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine import events as ev
from engine.drafting import Draft, remember

if TYPE_CHECKING:
    from engine.state import State


def drafted(state: State, event: ev.Drafted) -> None:
    if event.used:
        state.requests[event.request].draft = Draft.of(event)


def verified(state: State, event: ev.Verified) -> None:
    request = state.requests[event.request]
    assert event.position == request.num_tokens
    accepted = sum(each.verdict == "accepted" for each in event.drafts)
    request.recent = remember(request.recent, len(event.drafts), accepted)
    state.totals.drafted_tokens += len(event.drafts)
    state.totals.accepted_tokens += accepted


def given_back(state: State, event: ev.GivenBack) -> None:
    request = state.requests[event.request]
    assert tuple(request.table[event.index :]) == event.blocks
    assert request.computed <= event.index * state.blocks.block_size
    del request.table[event.index :]
    state.release(event.blocks)


APPLY: Mapping[type[ev.Event], Callable[[State, Any], None]] = {
    ev.Drafted: drafted,
    ev.Verified: verified,
    ev.GivenBack: given_back,
}
