"""What eviction would take next, in its own order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.kv.eviction import POLICIES, NotHere
from engine.overlay import Overlay, Short, Victim
from engine.plug_guard import PluginFailedError
from engine.state import State


class Going(NamedTuple):
    """Blocks that would leave one node in a row, the last one of the edge first."""

    node: int
    blocks: Sequence[int]


def why_no_order(state: State) -> str | None:
    """Why it is not known what would be evicted next; None where it is."""
    policy = state.evictable.policy
    if isinstance(policy, NotHere):
        return f"what goes next is decided by policy {policy.name} of a plugin that is not on here"
    return None


def next_victims(state: State, most: int) -> Sequence[Victim]:
    """The blocks that would be evicted one after the other if nothing else happened, at most `most`.

    Empty where that is not known: see `why_no_order`.
    """
    if why_no_order(state):
        return ()
    try:
        return _next_victims(state, most)
    except PluginFailedError:  # the engine finds out for itself; the screen does without
        name = state.evictable.policy.name
        POLICIES.pop(name, None)
        state.evictable.policy = NotHere(name)
        return ()


def _next_victims(state: State, most: int) -> Sequence[Victim]:
    overlay = Overlay(state)
    found = overlay.find(overlay.free + min(most, state.blocks.cached))
    if isinstance(found, Short):
        found = overlay.find(overlay.free + found.evictable)
    assert not isinstance(found, Short), "what is evictable can be evicted"
    return found.victims


def grouped(victims: Sequence[Victim]) -> list[Going]:
    """Victims that follow each other in one node, together."""
    groups: list[tuple[int, list[int]]] = []
    for victim in victims:
        if groups and groups[-1][0] == victim.node:
            groups[-1][1].append(victim.block)
        else:
            groups.append((victim.node, [victim.block]))
    return [Going(node, blocks) for node, blocks in groups]


__all__ = ["Going", "grouped", "next_victims", "why_no_order"]
