"""Sentences about KV that is weighed and dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from engine import events as ev
from engine.sanitise import display_text
from engine.wording.parts import TokenText, listed, plural, ranges
from engine.wording.reasons import why

OUTPUT_MAY_DIFFER: Final = "output may differ from that with the whole cache"
"""What there is to say of a run with a KV policy that drops blocks."""


def _weighed(event: ev.Weighed, _text: TokenText) -> str:
    last = event.start + event.rows - 1
    rows = f"row {last}" if event.rows == 1 else f"rows {event.start} to {last}"
    total = f"{sum(event.weights):.4g} over all layers and heads"
    return f"attention of {rows} of request {event.request} to its {plural(len(event.indexes), 'block')}: {total}"


def _dropped(event: ev.Dropped, text: TokenText) -> str:
    from_here = f"rows from position {event.position} on do not read them"
    return (
        f"request {event.request} gives up {listed(event.blocks)} at index {ranges(event.indexes)} of its table"
        f" ({plural(event.tokens, 'token')}, {event.policy}): {why(event.reason, text)}; {from_here}"
    )


def _uncached(event: ev.Uncached, _text: TokenText) -> str:
    verb = "leaves" if len(event.blocks) == 1 else "leave"
    return (
        f"{listed(event.blocks)} {verb} the tree at node {event.node} and stay with request {event.request},"
        " so that the one it dropped before them can be evicted"
    )


def _offloaded(event: ev.Offloaded, _text: TokenText) -> str:
    instead = f", {plural(len(event.forgotten), 'older file')} deleted for it" if event.forgotten else ""
    return f"{listed(event.blocks)}: {plural(event.tokens, 'token')} written to host files{instead}"


def _loaded(event: ev.Loaded, _text: TokenText) -> str:
    return (
        f"request {event.request} reads {plural(event.tokens, 'token')} back from host files, into"
        f" {listed(event.blocks)} at index {event.index} of its table"
    )


def _offload_lost(event: ev.OffloadLost, _text: TokenText) -> str:
    said = display_text(event.why)
    if event.request is None:
        return f"a block is not in a host file after all, and lost with its eviction: {said}"
    return f"a block of request {event.request} cannot be read back from its host file, and is computed: {said}"


SENTENCES: Final[Mapping[type[ev.Event], Callable[[Any, TokenText], str]]] = {
    ev.Weighed: _weighed,
    ev.Dropped: _dropped,
    ev.Uncached: _uncached,
    ev.Offloaded: _offloaded,
    ev.Loaded: _loaded,
    ev.OffloadLost: _offload_lost,
}
