"""The selected request's path in the tree: what it holds there, or what it would find now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.kv.blocks import NO_NODE
from engine.kv.radix import chain_hashes
from engine.kv.seeds import seed_of
from workbench.bench import Scene
from workbench.views.radix_tree import path_to


class RequestPath(NamedTuple):
    """Nodes from the top down; `tokens` of them, in whole blocks, hold the request's tokens."""

    nodes: Sequence[int]
    tokens: int
    holds: bool  # its table holds them; else it would find them

    @property
    def words(self) -> str:
        """What the lit path is."""
        return f"holds {self.tokens:,} tokens here" if self.holds else f"would find {self.tokens:,} tokens"


NOWHERE = RequestPath((), 0, False)


def request_path(scene: Scene) -> RequestPath:
    """Where the selected request's tokens are in the tree at this moment."""
    request, state = scene.selection.request, scene.moment.state
    if request is None or not scene.record.about.options.prefix_cache:
        return NOWHERE
    live = scene.moment.live_request(request)
    if live is not None and live.table:
        listed = [block for block in live.held_blocks if state.blocks.node[block] != NO_NODE]
        if not listed:
            return RequestPath((), 0, True)
        path = path_to(state, state.blocks.node[listed[-1]])
        return RequestPath(path, len(listed) * state.blocks.block_size, True)
    count = scene.moment.token_count(request)
    size = state.blocks.block_size
    ids = scene.record.token_ids(request)[:count]
    walk = state.tree.walk(chain_hashes(ids, size, _seed(scene, request))[: max(0, count - 1) // size])
    if not walk.blocks:
        return NOWHERE
    return RequestPath(path_to(state, walk.node), len(walk.blocks) * size, False)


def _seed(scene: Scene, request: str) -> int:
    """Where the hashes of the request's prefix begin: by its adapter and its salt."""
    row = scene.record.request(request)
    return 0 if row is None else seed_of(row.sampling)


__all__ = ["NOWHERE", "RequestPath", "request_path"]
