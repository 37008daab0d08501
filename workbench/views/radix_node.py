"""What there is to say about one node of the tree."""

from __future__ import annotations

from engine.kv.radix import ROOT
from engine.wording import plural, ranges
from workbench.bench import Scene
from workbench.views.holders import holders, named
from workbench.views.radix_tree import RadixRows, edge_ids
from workbench.views.sizes import written_bytes
from workbench.widgets.spans import Line, Span
from workbench.widgets.textpane import Fact

MOST_TOKENS = 2_000


def node_facts(scene: Scene, rows: RadixRows, node: int) -> list[Fact]:
    """Place, blocks, holders, use and text of a node that is there."""
    state = scene.moment.state
    here, blocks = state.tree.nodes[node], state.blocks
    size = blocks.block_size
    changed = rows.what_changed(node)
    return [
        *([Fact("this step", Span(changed, "changed"))] if changed else []),
        Fact("positions", f"{here.start * size:,}–{here.stop * size - 1:,}, below {_parent(here.parent)}"),
        Fact("blocks", f"{ranges(here.blocks)}  {_bytes(scene, len(here.blocks))}"),
        Fact("held by", _holders(scene, here.blocks[0], here.blocks[-1])),
        Fact("children", _children(len(here.children))),
        Fact("since", f"step {here.created_step}, {_hits(blocks.hits[here.blocks[0]])}"),
        Fact("last used", f"step {max(blocks.last_use[block] for block in here.blocks)}"),
        Fact("eviction", _eviction(rows, node)),
        Fact("text", _text(scene, node)),
    ]


def _parent(parent: int) -> str:
    return "the root" if parent == ROOT else f"node {parent}"


def _bytes(scene: Scene, count: int) -> str:
    block_bytes = scene.record.about.options.block_size * scene.record.about.shape.kv_bytes_per_token
    return f"({plural(count, 'block')}, {written_bytes(count * block_bytes)})"


def _holders(scene: Scene, first: int, last: int) -> Line:
    all_, whole = holders(scene.moment.state, first), holders(scene.moment.state, last)
    if not all_:
        return Span("no request: it is only cached", "kv-cached")
    partly = [each for each in all_ if each not in whole]
    state = scene.moment.state
    spans = [Span(" ".join(named(state, whole)), "kv-shared" if len(whole) > 1 else "kv-owned")]
    rest = f"{' and ' if whole else ''}partly {' '.join(named(state, partly))}"
    return [*spans, Span(rest, "kv-owned")] if partly else spans


def _children(count: int) -> str:
    return plural(count, "child").replace("childs", "children") if count else "none: it is a leaf"


def _hits(hits: int) -> str:
    return "never hit" if hits == 0 else f"hit {hits}×"


def _eviction(rows: RadixRows, node: int) -> Line:
    said = rows.eviction(node)
    more = {
        "protected": ": a table holds it",
        "evictable": ": a leaf that no table holds",
        "inner": ": evictable once its children are gone",
    }.get(said.text, " in the order of eviction")
    return [said, Span(more)]


def _text(scene: Scene, node: int) -> Line:
    ids = edge_ids(scene.moment.state, scene.record.token_ids, node, MOST_TOKENS)
    return Span("".join(map(scene.record.token_text, ids)))


__all__ = ["node_facts"]
