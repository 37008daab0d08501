"""What else a selection means: a token belongs to a step and a block, a block to a node."""

from __future__ import annotations

from dataclasses import replace

from engine.kv.blocks import NO_NODE
from engine.kv.holes import HOLE
from workbench.moment import Moment
from workbench.selection import Selection


def follow(chosen: Selection, before: Selection, moment: Moment) -> Selection:
    """`chosen` with what follows from the part of it that differs from `before`, unless that differs too."""
    if chosen.request != before.request and chosen.position == before.position:
        chosen = replace(chosen, position=None, step=None)
    token = (chosen.request, chosen.position, chosen.own_row)
    if token != (before.request, before.position, before.own_row) and chosen.position is not None:
        if chosen.step == before.step:
            chosen = replace(chosen, step=_step_of(chosen, moment))
        if chosen.block == before.block and (block := _block_of(chosen, moment)) is not None:
            chosen = replace(chosen, block=block)
    if chosen.block != before.block and chosen.node == before.node and chosen.block is not None:
        node = moment.state.blocks.node[chosen.block]
        chosen = replace(chosen, node=None if node == NO_NODE else node)
    return chosen


def _step_of(chosen: Selection, moment: Moment) -> int | None:
    """The step that chose the token, or that computed its own row."""
    assert chosen.request is not None
    assert chosen.position is not None
    row = moment.record.token_row(chosen.request, chosen.position)
    if row is None:
        return None
    return row.computed_step if chosen.own_row else row.chosen_step


def _block_of(chosen: Selection, moment: Moment) -> int | None:
    """The block that holds the KV of the row shown."""
    live, row = moment.live_request(chosen.request), chosen.row
    if live is None or row is None:
        return None
    index = row // moment.state.blocks.block_size
    block = live.table[index] if index < len(live.table) else HOLE
    return None if block == HOLE else block


__all__ = ["follow"]
