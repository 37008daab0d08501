"""View 5, Radix: who shares what?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from textual.app import ComposeResult
from textual.containers import Horizontal

from engine.kv.radix import ROOT
from engine.wording import plural
from workbench.actions import Action
from workbench.astext import facts, heading, paragraphs, table
from workbench.bench import News, Scene
from workbench.view import Drop, View
from workbench.views.radix_match import Match, SideBySide, latest_match, match_lines
from workbench.views.radix_node import node_facts
from workbench.views.radix_order import EvictionRows
from workbench.views.radix_path import RequestPath, request_path
from workbench.views.radix_text import tree_lines
from workbench.views.radix_tree import RadixRows, path_to
from workbench.views.victims import grouped, next_victims, why_no_order
from workbench.widgets.messages import Activated, CursorMoved
from workbench.widgets.table import LineTable
from workbench.widgets.textpane import DetailPane, TextPane
from workbench.widgets.treeview import LineTree

MOST_VICTIMS = 256
UNFOLDED_AT_ONCE = 400
TITLES = {
    "radix-tree": "radix tree",
    "radix-node": "node",
    "radix-why": "the match",
    "radix-side": "side by side",
    "radix-order": "next to be evicted",
}


class Shown(NamedTuple):
    """The tree of a moment with what the view says of it."""

    rows: RadixRows
    path: RequestPath
    order: EvictionRows
    node: int | None
    match: Match | None

    @classmethod
    def of(cls, scene: Scene, before: Shown | None = None, *, same_moment: bool = False) -> Shown:
        """`before` is what was shown last; of the `same_moment`, the order of eviction is the same too."""
        path = request_path(scene)
        same = before.order.groups if before is not None and same_moment else None
        groups = grouped(next_victims(scene.moment.state, MOST_VICTIMS)) if same is None else same
        first: dict[int, int] = {}
        for number, going in enumerate(groups, 1):
            first.setdefault(going.node, number)
        rows = RadixRows(scene, set(path.nodes), first)
        match = latest_match(scene, before.match if before else None)
        return cls(rows, path, EvictionRows(scene, groups), chosen_node(scene, path), match)


class RadixView(View):
    """The radix tree, the selected request's path in it, where its match ended, and what eviction takes next."""

    view_name = "radix"
    number = 5
    title = "Radix"
    question = "who shares what?"
    help_text = (
        "Prefixes that are cached, as a tree: an edge carries whole blocks, and requests that begin alike go down"
        " the same edges; each edge names who holds it. The lit path is the selected request's. Nodes that a"
        " block table holds are protected; the others are evicted in the order shown, leaves first, when room is"
        " needed. Dim text at the beginning of an edge is what a neighbour has too: edges part only where blocks"
        " begin."
    )
    drops = (Drop("radix-node", 100), Drop("radix-side", 110))

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._seen: set[int] = set()
        self._shown: Shown | None = None

    def compose(self) -> ComposeResult:
        with Horizontal(id="radix-top"):
            yield LineTree(id="radix-tree", classes="framed", title="who holds it, and the text on the edge")
            yield DetailPane(id="radix-node", classes="framed", empty="Select a node of the tree.")
        with Horizontal(id="radix-low"):
            yield TextPane(id="radix-why", classes="framed")
            yield LineTable(id="radix-side", classes="framed", empty="There is nothing to set side by side.")
            yield LineTable(id="radix-order", classes="framed")

    def on_mount(self) -> None:
        for pane, title in TITLES.items():
            self.query_one(f"#{pane}").border_title = title

    @property
    def tree_pane(self) -> LineTree:
        return self.query_one("#radix-tree", LineTree)

    # -- showing -------------------------------------------------------------------------------------

    def show(self, scene: Scene, news: News) -> None:
        if not news & (News.MOMENT | News.SELECTION | News.RECORD):
            return
        same_moment = news & (News.MOMENT | News.RECORD) == News(0)
        shown = self._shown = Shown.of(scene, self._shown, same_moment=same_moment)
        self._show_tree(scene, shown, same_moment)
        self._show_node(scene, shown)
        self._show_match(scene, shown)
        self._show_order(scene, shown)

    def _show_tree(self, scene: Scene, shown: Shown, same_moment: bool) -> None:
        pane = self.tree_pane
        pane.empty = why_empty(scene)
        before = len(pane.unfolded)
        self._unfold_new(scene, shown)
        same_shape = same_moment and len(pane.unfolded) == before
        pane.set_model(shown.rows if len(shown.rows) else None, same_shape=same_shape)
        if shown.node is not None:
            pane.reveal(path_to(scene.moment.state, shown.node))
        pane.border_title = tree_title(scene, shown)
        pane.border_subtitle = what_changed(scene)

    def _unfold_new(self, scene: Scene, shown: Shown) -> None:
        """Unfold nodes that were not there before while they are few; what a person folded stays folded."""
        nodes = scene.moment.state.tree.nodes.keys()
        if len(nodes) <= UNFOLDED_AT_ONCE:
            self.tree_pane.unfolded |= nodes - self._seen
            self._seen = set(nodes)
        self.tree_pane.unfolded.update(shown.path.nodes[:-1])

    def _show_node(self, scene: Scene, shown: Shown) -> None:
        pane = self.query_one("#radix-node", DetailPane)
        pane.border_title = "node" if shown.node is None else f"node {shown.node}"
        pane.set_facts([] if shown.node is None else node_facts(scene, shown.rows, shown.node))

    def _show_match(self, scene: Scene, shown: Shown) -> None:
        pane, side = self.query_one("#radix-why", TextPane), self.query_one("#radix-side", LineTable)
        pane.empty = why_no_match(scene)
        pane.border_title = match_title(scene)
        pane.set_lines(match_lines(scene, shown.match) if shown.match else [])
        model = SideBySide(scene, shown.match) if shown.match else None
        side.set_model(model)
        if model is not None and shown.match is not None:
            side.show_cursor(shown.match.position - model.first)

    def _show_order(self, scene: Scene, shown: Shown) -> None:
        pane, cached = self.query_one("#radix-order", LineTable), scene.moment.state.blocks.cached
        pane.set_model(shown.order)
        pane.empty = why_nothing_goes(scene)
        policy = scene.moment.state.evictable.policy.name
        pane.border_title = f"next to be evicted ({policy})"
        pane.border_subtitle = f"{cached:,} cached blocks" if cached else ""
        rows = (at for at, going in enumerate(shown.order.groups) if going.node == shown.node)
        row = next(rows, None)
        pane.quiet = row is None
        if row is not None:
            pane.show_cursor(row)

    # -- what a person does --------------------------------------------------------------------------

    def on_cursor_moved(self, message: CursorMoved) -> None:
        shown = self._shown
        if shown is None:
            return
        if message.pane.id == "radix-tree" and self.tree_pane.node is not None:
            self._select_node(self.tree_pane.node)
        elif message.pane.id == "radix-order":
            self._select_node(shown.order.groups[message.index].node)

    def _select_node(self, node: int) -> None:
        here = self.scene.moment.state.tree.nodes.get(node)
        if here is not None and here.blocks:
            self.bench.select(replace(self.scene.selection, node=node, block=here.blocks[0]))

    def on_activated(self, message: Activated) -> None:
        shown = self._shown
        if message.pane.id in ("radix-tree", "radix-order", "radix-node"):
            self.bench.open_view("blocks")
        elif shown is not None and shown.match is not None:
            self._open_match(shown.match)

    def _open_match(self, match: Match) -> None:
        """Go to the step that looked for the prefix, and select the position where the match ended."""
        self.bench.seek(match.step)
        event = match.event
        chosen = replace(self.scene.selection, request=event.request, position=match.position, step=match.step)
        self.bench.select(chosen)

    def to_match(self) -> None:
        if self._shown is not None and self._shown.match is not None:
            self._open_match(self._shown.match)

    def why_to_no_match(self) -> str | None:
        shown = self._shown
        return None if shown is not None and shown.match is not None else why_no_match(self.scene)

    def search(self, wanted: str, direction: int) -> str:
        """Go to the next node in view that has the text on its edge, or to the node of a number."""
        tree, shown = self.tree_pane, self._shown
        if shown is None or tree.visible_nodes is None or not len(tree.visible_nodes):
            return "the tree is empty"
        nodes = tree.visible_nodes.nodes
        count = len(nodes)
        for distance in range(1, count + 1):
            node = nodes[(tree.cursor + direction * distance) % count]
            text = "".join(str(getattr(piece, "text", piece)) for piece in shown.rows.label(node))  # type: ignore[union-attr]
            if wanted == str(node) or wanted in text:
                self._select_node(node)
                return f"node {node}"
        return f"no unfolded node begins with {wanted!r}"

    # -- as text -------------------------------------------------------------------------------------

    def text(self, scene: Scene, width: int) -> str:
        shown = Shown.of(scene)
        lines = [heading(tree_title(scene, shown), width)]
        lines += tree_lines(shown.rows, width) if len(shown.rows) else paragraphs([why_empty(scene)], width)
        if shown.node is not None:
            lines += [heading(f"node {shown.node}", width)]
            lines += facts(node_facts(scene, shown.rows, shown.node), width)
        lines.append(heading(match_title(scene), width))
        if shown.match:
            lines += paragraphs(match_lines(scene, shown.match), width)
            lines += table(SideBySide(scene, shown.match), width)
        else:
            lines += paragraphs([why_no_match(scene)], width)
        lines += [heading("next to be evicted", width), *table(shown.order, width)]
        return "\n".join(lines)

    actions = (
        Action(
            "radix.match", ("t",), "Go to the step of the match", "Go", to_match, "the match", why_to_no_match,
            "The step in which the selected request looked for its prefix in the tree.",
        ),
    )  # fmt: skip


def chosen_node(scene: Scene, path: RequestPath) -> int | None:
    """The selected node; without one, the end of the request's path, or the first node."""
    nodes = scene.moment.state.tree.nodes
    if scene.selection.node is not None and scene.selection.node in nodes and scene.selection.node != ROOT:
        return scene.selection.node
    if path.nodes:
        return path.nodes[-1]
    return next(iter(scene.moment.state.tree.root.children.values()), None)


def tree_title(scene: Scene, shown: Shown) -> str:
    """How large the tree is, and what the lit path is."""
    state = scene.moment.state
    listed = sum(len(node.blocks) for node in state.tree.nodes.values()) if len(shown.rows) <= 5_000 else None
    size = "" if listed is None else f", {listed * state.blocks.block_size:,} tokens"
    lit = f" · request {scene.selection.request} {shown.path.words}" if shown.path.nodes else ""
    return f"radix tree: {plural(len(shown.rows), 'node')}{size}{lit}"


def what_changed(scene: Scene) -> str:
    """What the step did to the tree, in numbers."""
    changes = scene.moment.changes
    parts: Mapping[str, set[int]] = {
        "new": changes.nodes_created,
        "split": changes.nodes_split,
        "grown": changes.nodes_grown,
        "trimmed": changes.nodes_trimmed,
        "gone": changes.nodes_removed,
    }
    said = ", ".join(f"{len(nodes)} {name}" for name, nodes in parts.items() if nodes)
    return f"{said} in this step" if said else "unchanged in this step"


def why_empty(scene: Scene) -> str:
    """Why there is no tree."""
    if not scene.record.about.options.prefix_cache:
        return "The prefix cache is off (--no-prefix-cache): no request shares or keeps anything."
    size = scene.record.about.options.block_size
    return f"Nothing is cached yet: a block enters the tree when its {size} tokens are computed. n takes a step."


def why_no_match(scene: Scene) -> str:
    """Why there is no match to show."""
    request = scene.selection.request
    if request is None:
        return "No request yet: p submits a prompt."
    row = scene.record.request(request)
    if row is not None and row.sample > 0:
        return f"Request {request} is a sample: it starts on the blocks of sample 0, which looked for the prefix."
    state = scene.moment.state_of(request)
    return f"Request {request} has not looked for its prefix yet{f': it is {state}' if state else ''}."


def why_nothing_goes(scene: Scene) -> str:
    """Why eviction would find nothing."""
    if not scene.record.about.options.prefix_cache:
        return "The prefix cache is off: there is nothing to evict."
    if (why := why_no_order(scene.moment.state)) is not None:
        return f"{why[:1].upper()}{why[1:]}: open the session with --plugin."
    return "Nothing can be evicted: every cached block is held by a table, or none is cached."


def match_title(scene: Scene) -> str:
    request = scene.selection.request
    return "the match" if request is None else f"match of request {request}"


__all__ = ["RadixView"]
