"""What there is to say about one block, in a few lines."""

from __future__ import annotations

from collections.abc import Sequence

from engine.kv.blocks import NO_NODE
from sessions.records import BlockChange
from workbench.bench import Scene
from workbench.views.blocks_history import words
from workbench.views.blocks_slots import Slots
from workbench.views.blocks_table import written_hash
from workbench.views.holders import holders
from workbench.views.victims import next_victims, why_no_order
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Line, Span

MOST_VICTIMS = 200


def chosen_block(scene: Scene) -> int:
    """The selected block; without one, the first that the selected request holds."""
    block = scene.selection.block
    if block is not None and 0 <= block < scene.moment.state.blocks.num_blocks:
        return block
    live = scene.moment.live_request(scene.selection.request)
    return next(iter(live.held_blocks), 0) if live else 0


def block_lines(scene: Scene, block: int, slots: Slots, history: Sequence[BlockChange]) -> list[Line]:
    """State and holders, who wrote it, its place in the tree, its last change."""
    blocks = scene.moment.state.blocks
    if blocks.state(block) == "free":
        lines = [_free(scene, block)]
    else:
        lines = [_held(scene, block), _written(slots), _place(scene, block)]
    if history:
        last = history[0]
        ink: Ink = "changed" if last.step == scene.moment.step else "text"
        lines.append([Span("last change  ", "dim"), Span(f"step {last.step}: {words(last)}", ink)])
    return lines


def _free(scene: Scene, block: int) -> Line:
    queue = scene.moment.state.blocks.free
    place = queue.index(block) + 1
    what = "never used" if scene.record.latest_block_changes(block, scene.moment.step, 1) == [] else "given back"
    return [
        Span("free", "kv-free"),
        Span(f", {what}: its content is meaningless; number {place:,} of {len(queue):,} in line to be taken"),
    ]


def _held(scene: Scene, block: int) -> Line:
    state = scene.moment.state
    blocks, fill = state.blocks, Span(f"  {state.blocks.fill[block]} of {state.blocks.block_size} slots", "dim")
    names = holders(state, block)
    if len(names) > 1:
        return [Span("shared", "kv-shared"), Span(f" by {', '.join(names)}: ref count {len(names)}"), fill]
    if names:
        return [Span("owned", "kv-owned"), Span(f" by {names[0]} alone"), fill]
    hits = blocks.hits[block]
    after = f", last used in step {blocks.last_use[block]}, {_times(hits)}"
    return [Span("cached", "kv-cached"), Span(f", held by no request{after}")]


def _written(slots: Slots) -> Line:
    span = slots.span
    when = (
        "" if span is None else f" in step {span[0]}" if span[0] == span[1] else f" in steps {span[0]}–{span[1]}"
    )
    copied = slots.beginning is not None and slots.beginning.change == "copied"
    how = f", begun as a copy in step {slots.beginning.step}" if copied and slots.beginning else ""
    return [Span("written by ", "dim"), Span(f"{', '.join(slots.writers)}{when}{how}")]


def _place(scene: Scene, block: int) -> Line:
    state = scene.moment.state
    blocks, node = state.blocks, state.blocks.node[block]
    hash_ = blocks.hash[block]
    if node == NO_NODE:
        return [Span("not in the tree", "dim"), Span(f": {_why_not_in_the_tree(scene, block)}")]
    return [
        Span(f"in the tree at node {node}", "kv-cached"),
        Span(f", hash {written_hash(hash_)}…, {_times(blocks.hits[block])}; {_eviction(scene, block)}"),
    ]


def _why_not_in_the_tree(scene: Scene, block: int) -> str:
    state = scene.moment.state
    if not scene.record.about.options.prefix_cache:
        return "the prefix cache is off"
    if state.blocks.fill[block] < state.blocks.block_size:
        return "not full yet"
    end = (state.blocks.index[block] + 1) * state.blocks.block_size
    for holder in holders(state, block):
        live = state.requests[holder]
        if live.pure_tokens is not None and end > live.pure_tokens:
            return f"computed with stages scaled for {holder}"
        if live.own_from is not None and end > live.own_from:
            return f"computed after blocks of {holder} were dropped"
        if live.dropped:
            return f"it follows a block that {holder} dropped"
    return "a twin in the tree holds the same"


def _eviction(scene: Scene, block: int) -> str:
    state = scene.moment.state
    if state.blocks.ref_count[block]:
        return "protected while it is held"
    if (why := why_no_order(state)) is not None:
        return f"not in use; {why}"
    order = [victim.block for victim in next_victims(state, MOST_VICTIMS)]
    if block in order:
        return f"number {order.index(block) + 1} to be evicted"
    return (
        f"evictable, after {len(order)} others" if len(order) == MOST_VICTIMS else "protected by what follows it"
    )


def _times(hits: int) -> str:
    return "never hit" if hits == 0 else f"hit {hits}×"


__all__ = ["block_lines", "chosen_block"]
