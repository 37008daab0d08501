"""Events that a catchpoint waits for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from engine import events as ev
from engine.debug.said import Caught
from engine.reasons import REFUSALS, CacheOff


def is_caught(what: Caught, event: ev.Event) -> bool:
    """Whether `event` is one of those that `catch what` stops for."""
    return any(isinstance(event, kind) and fits(event) for kind, fits in _CAUGHT[what].items())


def requests_of(event: ev.Event, batch: tuple[ev.Work, ...]) -> tuple[str, ...]:
    """Whom `event` concerns: of a failed step everybody in its batch, of an eviction who needed the room."""
    if isinstance(event, ev.StepFailed):
        return tuple(work.request for work in batch)
    if isinstance(event, ev.Evicted):
        return (event.for_request,)
    request = ev.request_in(event)
    return () if request is None else (request,)


def _any(_event: ev.Event) -> bool:
    return True


_CAUGHT: Final[Mapping[Caught, Mapping[type[ev.Event], Callable[[Any], bool]]]] = {
    "preempt": {ev.Preempted: _any},
    "evict": {ev.Evicted: _any},
    "miss": {ev.PrefixMatched: lambda event: event.tokens == 0 and not isinstance(event.end, CacheOff)},
    "finish": {ev.Finished: _any},
    "reject": {ev.Finished: lambda event: event.detail in REFUSALS},
    "error": {ev.StepFailed: _any, ev.Finished: lambda event: event.reason == "error"},
    "nan": {},
}
"""A refused request never fits, a miss is an admitted one of which the cache held nothing."""
