"""LineTree: a tree of any size as a flat list of what is unfolded, with columns at its right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Offset

from workbench.widgets.cells import cell_len
from workbench.widgets.columns import GAP, Placed, lay_row, lay_titles, place
from workbench.widgets.cursor import CursorPane
from workbench.widgets.inks import Ink
from workbench.widgets.spans import lay, plain
from workbench.widgets.treenodes import TreeModel, VisibleNodes

MARK_WIDTH = 2


class LineTree(CursorPane):
    """A tree. Left and right fold and unfold, up and down move; the highlighted path is lit."""

    ALLOW_SELECT = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "unfold_below", "Unfold all below", show=False, id="tree.unfold_below"),
        Binding("minus", "fold_here", "Fold", show=False, id="tree.fold"),
    ]
    help_text = (
        "A tree. ↑ ↓ or j k move, → or l unfolds, ← or h folds or goes to the parent, + unfolds all below, "
        "- folds, PgUp PgDn page, Home End jump, Enter opens the node, y copies it."
    )

    def __init__(
        self,
        model: TreeModel | None = None,
        *,
        title: str = "",
        empty: str = "No nodes.",
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(empty=empty, id=id, classes=classes)
        self.model: TreeModel | None = None
        self.title = title
        self.top_lines = 1
        self.unfolded: set[int] = set()
        self.visible_nodes: VisibleNodes | None = None
        self._placed: tuple[int, list[Placed]] = (-1, [])
        self.set_model(model)

    def set_model(self, model: TreeModel | None, *, same_shape: bool = False) -> None:
        """Show another state of the tree: unfolded as it was, the cursor on its node where that still exists.

        `same_shape` promises that it has the nodes of the one before, so that the flat lists can be kept.
        """
        node = self.node
        first = self.model is None
        self.model = model
        self._placed = (-1, [])
        if model is not None and first and not self.unfolded:
            self.unfolded = set(model.roots())
        if same_shape and model is not None and self.visible_nodes is not None:
            self.visible_nodes.model = model
        else:
            self.visible_nodes = VisibleNodes(model, self.unfolded) if model else None
        if node is not None and self.visible_nodes and node in self.visible_nodes.nodes:
            self.cursor = self.visible_nodes.nodes.index(node)
        self.items_changed()

    @property
    def node(self) -> int | None:
        """The node under the cursor."""
        return self.visible_nodes.nodes[self.cursor] if self.visible_nodes and len(self.visible_nodes) else None

    def reveal(self, path: Sequence[int]) -> None:
        """Unfold a path of nodes from a root down and put the cursor on its end, telling nobody."""
        if self.model is None or not path:
            return
        if self.visible_nodes is None or not self.unfolded.issuperset(path[:-1]):
            self.unfolded.update(path[:-1])
            self.visible_nodes = VisibleNodes(self.model, self.unfolded)
            self.items_changed()
        if path[-1] in self.visible_nodes.nodes:
            self.show_cursor(self.visible_nodes.nodes.index(path[-1]))

    def item_count(self) -> int:
        return len(self.visible_nodes) if self.visible_nodes else 0

    # Keys and mouse

    def move(self, step: Offset) -> None:
        if step.y:
            super().move(step)
        elif step.x > 0:
            self._unfold_or_enter()
        else:
            self._fold_or_leave()

    def _unfold_or_enter(self) -> None:
        visible = self.visible_nodes
        if visible is None or self.node is None or self.model is None or not self.model.children(self.node):
            return
        if self.node in self.unfolded:
            self.move_to(self.cursor + 1)
        else:
            visible.unfold(self.cursor)
            self.items_changed()

    def _fold_or_leave(self) -> None:
        visible = self.visible_nodes
        if visible is None or self.node is None:
            return
        if self.node in self.unfolded and self.model and self.model.children(self.node):
            visible.fold(self.cursor)
            self.items_changed()
        else:
            self.move_to(visible.parent(self.cursor))

    def action_fold_here(self) -> None:
        if self.visible_nodes and self.node is not None:
            self.visible_nodes.fold(self.cursor)
            self.items_changed()

    def action_unfold_below(self) -> None:
        """Unfold every node below the cursor."""
        if self.model is None or self.node is None or self.visible_nodes is None:
            return
        self.visible_nodes.fold(self.cursor)
        stack = list(self.model.children(self.node))
        while stack:
            node = stack.pop()
            below = self.model.children(node)
            if below:
                self.unfolded.add(node)
                stack += below
        self.visible_nodes.unfold(self.cursor)
        self.items_changed()

    def click_at(self, at: Offset) -> bool:
        hit = super().click_at(at)
        if hit and self.visible_nodes and self.model:
            depth = self.visible_nodes.depths[at.y]
            if MARK_WIDTH + 2 * depth <= at.x < MARK_WIDTH + 2 * depth + 2:
                self._toggle(at.y)
        return hit

    def _toggle(self, position: int) -> None:
        assert self.visible_nodes is not None
        node = self.visible_nodes.nodes[position]
        if node in self.unfolded:
            self.visible_nodes.fold(position)
        else:
            self.visible_nodes.unfold(position)
        self.items_changed()

    # Drawing

    def head_lines(self) -> Sequence[list[Segment]]:
        placed = self._columns()
        tree_width = self._tree_width(placed)
        title = lay(self.title, tree_width, self.brush.over("header"))
        gap = [self.brush.segment(" " * GAP)] if placed else []
        return [[self.brush.segment(" " * MARK_WIDTH), *title, *gap, *lay_titles(placed, self.brush)]]

    def body_line(self, index: int) -> list[Segment]:
        assert self.model is not None
        assert self.visible_nodes is not None
        node = self.visible_nodes.nodes[index]
        changed, lit = self.model.changed(node), self.model.lit(node)
        brush = self.brush.over(self.cursor_ink) if index == self.cursor else self.brush
        label_brush = brush.over("lit") if lit and index != self.cursor else brush
        mark = self.glyphs.cursor if index == self.cursor else self.glyphs.changed if changed else " "
        ink: Ink = "changed" if changed else "selected-mark"
        placed = self._columns()
        room = self._tree_width(placed)
        guides = self._guides(index)
        label = lay(self.model.label(node), max(0, room - cell_len(guides)), label_brush)
        cells = lay_row(self.model.cells(node), placed, brush)
        gap = [brush.segment(" " * GAP)] if placed else []
        trunk = brush.segment(guides[:room], "accent" if lit else "faint")
        return [brush.segment(mark.ljust(MARK_WIDTH), ink), trunk, *label, *gap, *cells]

    def _guides(self, index: int) -> str:
        """Return the lines that lead to a node, and whether it is folded."""
        assert self.visible_nodes is not None
        assert self.model is not None
        glyphs, depth, trunk = self.glyphs, self.visible_nodes.depths[index], self.visible_nodes.trunks[index]
        above = "".join(glyphs.tree_trunk if trunk >> level & 1 else "  " for level in range(1, depth))
        elbow = (glyphs.tree_branch if trunk >> depth & 1 else glyphs.tree_corner) if depth else ""
        node = self.visible_nodes.nodes[index]
        fold = glyphs.tree_open if node in self.unfolded else glyphs.tree_closed
        return f"{above}{elbow}{fold if self.model.children(node) else glyphs.tree_leaf} "

    def _tree_width(self, placed: Sequence[Placed]) -> int:
        used = sum(item.width for item in placed) + GAP * len(placed)
        return max(0, self.body_width - MARK_WIDTH - used)

    def _columns(self) -> list[Placed]:
        """The right columns that leave the tree itself at least half the pane."""
        if self._placed[0] != self.body_width:
            assert self.model is not None
            room = max(0, self.body_width - MARK_WIDTH) // 2
            self._placed = (self.body_width, [item for item in place(self.model.columns, room) if room])
        return self._placed[1]

    def copy_text(self) -> str:
        """Return the node under the cursor, its label and cells apart by tabs."""
        if self.model is None or self.node is None:
            return ""
        lines = (self.model.label(self.node), *self.model.cells(self.node))
        return "\t".join(plain(line).strip() for line in lines)
