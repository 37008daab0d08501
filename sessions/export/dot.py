"""The radix tree at a step as a Graphviz graph: text on the edges, numbers in the nodes.

dot -Tsvg tree.dot -o tree.svg
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Final

from engine.ids import request_of
from engine.kv.radix import ROOT, Node
from engine.sanitise import display_text
from engine.state import State
from engine.wording import plural, ranges
from sessions.export.excerpt import Excerpt
from sessions.export.options import parse_step
from sessions.export.output import Progress
from sessions.records import RequestRow

EDGE_TOKENS: Final = 24
LINE_WIDTH: Final = 30
REPORT_NODES: Final = 500
_STYLES: Final = {
    "owned": ("#cfe3f7", "solid"), "shared": ("#f9e0b7", "bold"), "cached": ("#e7e7e7", "dashed"),
}  # fmt: skip


def write(excerpt: Excerpt, stream: BinaryIO, progress: Progress) -> None:
    """Write the tree as it was after the step asked for, the last one otherwise."""
    asked = excerpt.options.step
    step = excerpt.last_step if asked is None else parse_step(asked, excerpt.last_step)
    for line in _graph(excerpt, step, progress):
        stream.write(line.encode() + b"\n")


def quoted(text: str) -> str:
    """`text` as a DOT string: neither escapes (`\\n`, `\\G`) nor entities (`&lt;`) in it mean anything."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
    return f'"{escaped}"'


def label(lines: Iterable[str]) -> str:
    """Lines as one DOT string, each aligned to the left."""
    return '"' + "".join(quoted(line)[1:-1] + "\\l" for line in lines) + '"'


def _graph(excerpt: Excerpt, step: int, progress: Progress) -> Iterator[str]:
    state = excerpt.state_at(step)
    texts = _EdgeTexts(excerpt, state)
    yield f"// The radix tree of {display_text(excerpt.name)} after step {step} of branch {excerpt.branch}."
    yield "// A node: tokens on its edge, blocks, block tables that hold it, prefix hits, step of its last use."
    for line in excerpt.left_out:
        yield f"// Left out: {display_text(line)}"
    yield "digraph radix {"
    yield f"  label={quoted(_title(excerpt, state, step))}; labelloc=t; rankdir=LR;"
    yield '  node [shape=box, style=filled, fontname="Helvetica", fontsize=10];'
    yield '  edge [fontname="monospace", fontsize=10];'
    yield f'  n{ROOT} [label="root", fillcolor="white"];'
    total = len(state.tree.nodes) - 1
    for done, node in enumerate(_nodes(state), 1):
        yield from _node(state, node, texts)
        if done % REPORT_NODES == 0 or done == total:
            progress(done, total)
    yield "}"
    if not total:
        progress(1, 1)


def _title(excerpt: Excerpt, state: State, step: int) -> str:
    blocks = state.blocks
    cached = sum(len(node.blocks) for node in state.tree.nodes.values())
    return (
        f"{display_text(excerpt.session.header.model_name)}, step {step}:"
        f" {plural(len(state.tree.nodes) - 1, 'node')}, {cached} of {plural(blocks.num_blocks, 'block')}"
        f" of {plural(blocks.block_size, 'token')} in the tree"
    )


def _nodes(state: State) -> Iterator[Node]:
    """All nodes but the root, parents before children."""
    waiting = list(state.tree.root.children.values())
    while waiting:
        node = state.tree.nodes[waiting.pop()]
        yield node
        waiting.extend(node.children.values())


def _node(state: State, node: Node, texts: _EdgeTexts) -> Iterator[str]:
    refs = [state.blocks.ref_count[block] for block in node.blocks]
    kind = "shared" if refs[0] > 1 else "owned" if refs[0] else "cached"
    fill, style = _STYLES[kind]
    facts = [
        f"node {node.id}: {plural(len(node.blocks) * state.blocks.block_size, 'token')}",
        f"{'block' if len(node.blocks) == 1 else 'blocks'} {ranges(node.blocks)}",
        f"{kind}, held by {refs[0] if refs[0] == refs[-1] else f'{refs[0]} to {refs[-1]}'}",
        f"hits {state.blocks.hits[node.blocks[0]]}, last used in step {state.blocks.last_use[node.blocks[-1]]}",
    ]
    yield f'  n{node.id} [label={label(facts)}, fillcolor="{fill}", style="filled,{style}"];'
    yield f"  n{node.parent} -> n{node.id} [label={label(texts.lines(node))}];"


class _EdgeTexts:
    """The text on an edge: tokens of the requests that wrote its blocks."""

    def __init__(self, excerpt: Excerpt, state: State) -> None:
        self._excerpt = excerpt
        self._state = state
        self._ids: dict[str, Sequence[int]] = {}
        self._requests: dict[str, RequestRow] = {row.request: row for row in excerpt.requests}

    def lines(self, node: Node) -> list[str]:
        """The first tokens, wrapped; how many more there are."""
        ids = self._first_ids(node)
        text = display_text("".join(map(self._excerpt.session.token_text, ids)))
        lines = textwrap.wrap(text, LINE_WIDTH, replace_whitespace=False, drop_whitespace=False) or [""]
        more = len(node.blocks) * self._state.blocks.block_size - len(ids)
        return [*lines, f"… {more} more"] if more else lines

    def _first_ids(self, node: Node) -> list[int]:
        size = self._state.blocks.block_size
        ids: list[int] = []
        for index, block in enumerate(node.blocks[: -(-EDGE_TOKENS // size)], node.start):
            written = self._of(request_of(self._state.blocks.writer[block]))
            ids += written[index * size : (index + 1) * size]
        return ids[:EDGE_TOKENS]

    def _of(self, request: str) -> Sequence[int]:
        if request not in self._ids:
            row = self._requests.get(request)
            self._ids[request] = () if row is None else self._excerpt.token_ids(row)
        return self._ids[request]
