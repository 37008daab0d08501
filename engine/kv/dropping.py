"""Which cached blocks must leave the tree for one of them to leave it: those that follow go first."""

from __future__ import annotations

from engine.option_error import OptionError
from engine.state import State


class HeldBlockError(OptionError):
    """A block cannot leave the tree because a request holds one that follows it."""


def cached_from(state: State, block: int) -> list[tuple[int, tuple[int, ...]]]:
    """`(node, blocks)` in the order they can be evicted, each the tail of a leaf by then, `block` the last.

    Raises OptionError unless `block` is cached, HeldBlockError where a request holds one that follows it.
    """
    if not 0 <= block < state.blocks.num_blocks:
        raise OptionError(f"there is no block {block}: the pool has {state.blocks.num_blocks}")
    if state.blocks.state(block) != "cached":
        raise OptionError(f"block {block} is {state.blocks.state(block)}: only a cached block can be evicted")
    node, end = state.tree.place_of(block)
    below = [_tail(state, child, 0) for child in _descendants(state, node.id)]
    return [*below, _tail(state, node.id, end - 1)]


def _descendants(state: State, node: int) -> list[int]:
    """All nodes below `node`, children before their parents."""
    found: list[int] = []
    stack = list(state.tree.nodes[node].children.values())
    while stack:
        child = stack.pop()
        found.append(child)
        stack.extend(state.tree.nodes[child].children.values())
    return found[::-1]


def _tail(state: State, node: int, start: int) -> tuple[int, tuple[int, ...]]:
    blocks = tuple(reversed(state.tree.nodes[node].blocks[start:]))
    for held in blocks:
        if state.blocks.ref_count[held]:
            raise HeldBlockError(f"block {held} follows it in the tree, and a request holds that")
    return node, blocks
