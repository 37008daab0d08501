"""Sentences about KV blocks and the radix tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from engine import events as ev
from engine.wording.parts import TokenText, listed, made_room, plural
from engine.wording.reasons import why


def _inherited(event: ev.Inherited, _text: TokenText) -> str:
    return (
        f"fork {event.request} starts on {listed(event.blocks)} of {event.source}:"
        f" {plural(event.tokens, 'token')} it need not compute"
    )


def _prefix_matched(event: ev.PrefixMatched, text: TokenText) -> str:
    found = f"{event.tokens} of {plural(event.looked_up, 'token')} cached"
    blocks = f" in {listed(event.blocks)}" if event.blocks else ""
    return f"request {event.request} finds {found}{blocks}: {why(event.end, text)}"


def _evicted(event: ev.Evicted, _text: TokenText) -> str:
    hits = "never hit" if event.hits == 0 else f"hit {event.hits}×"
    cause = made_room(event.for_request)
    policy = f" ({event.policy})" if event.for_request else ""
    return (
        f"{listed(event.blocks)} evicted from node {event.node} {cause}:"
        f" {plural(event.tokens, 'token')} lost, last used in step {event.last_use_step}, {hits}{policy}"
    )


def _allocated(event: ev.Allocated, _text: TokenText) -> str:
    return f"request {event.request} takes {listed(event.blocks)} at index {event.index} of its table"


def _copied(event: ev.Copied, _text: TokenText) -> str:
    return (
        f"request {event.request} writes into shared block {event.source}: the first"
        f" {plural(event.tokens, 'token')} are copied to block {event.block}, its own from now on"
    )


def _cached(event: ev.Cached, _text: TokenText) -> str:
    verb = "are full and enter" if len(event.blocks) > 1 else "is full and enters"
    where = f"new node {event.node} under {event.parent}" if event.created else f"node {event.node}"
    return f"request {event.request}: {listed(event.blocks)} {verb} the tree at {where}"


def _split(event: ev.Split, _text: TokenText) -> str:
    kept = plural(event.at, "block")
    return f"node {event.node} splits: it keeps its first {kept}, the rest moves to new node {event.child}"


def _kept_private(event: ev.KeptPrivate, _text: TokenText) -> str:
    return (
        f"request {event.request} keeps full block {event.block} to itself:"
        f" block {event.twin} in the tree holds the same tokens"
    )


SENTENCES: Final[Mapping[type[ev.Event], Callable[[Any, TokenText], str]]] = {
    ev.Inherited: _inherited,
    ev.PrefixMatched: _prefix_matched,
    ev.Evicted: _evicted,
    ev.Allocated: _allocated,
    ev.Copied: _copied,
    ev.Cached: _cached,
    ev.Split: _split,
    ev.KeptPrivate: _kept_private,
}
