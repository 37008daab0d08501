"""What eviction would take next, in its own order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.overlay import Overlay, Short, Victim
from engine.state import State


class Going(NamedTuple):
    """Blocks that would leave one node in a row, the last one of the edge first."""

    node: int
    blocks: Sequence[int]


def next_victims(state: State, most: int) -> Sequence[Victim]:
    """The blocks that would be evicted one after the other if nothing else happened, at most `most`."""
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


__all__ = ["Going", "grouped", "next_victims"]
