"""What events of beam search do to the bookkeeping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from engine import events as ev

if TYPE_CHECKING:
    from engine.state import State


def chosen(state: State, event: ev.BeamsChosen) -> None:
    """The forks that it names are there already; `token` gives each its token."""
    search = state.searches[event.request]
    state.searches[search.id] = msgspec.structs.replace(search, hypotheses=event.hypotheses)
    for candidate in event.candidates:
        if candidate.request:
            state.requests[candidate.request].score = candidate.score


def ended(state: State, event: ev.BeamsEnded) -> None:
    """`finished` of each beam follows; the search is forgotten with its last one."""
    search = state.searches[event.request]
    state.searches[search.id] = msgspec.structs.replace(search, hypotheses=event.best)


APPLY: Mapping[type[ev.Event], Callable[[State, Any], None]] = {
    ev.BeamsChosen: chosen,
    ev.BeamsEnded: ended,
}
