"""HeatGrid: a small map for every layer and head, query heads grouped under their KV head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rich.segment import Segment
from textual.geometry import Offset

from workbench.widgets.cells import cell_len, fit
from workbench.widgets.inks import Ink
from workbench.widgets.messages import CellMoved
from workbench.widgets.pane import LinePane
from workbench.widgets.pixels import PixelPen
from workbench.widgets.pooling import levels, thumbnail

if TYPE_CHECKING:
    from workbench.widgets.pooling import FloatMatrix

GUTTER = 4
LEAST_TILE, LARGEST_TILE = 2, 9


class GridModel(Protocol):
    """Maps by layer and head; a map that is not there yet is None."""

    @property
    def layers(self) -> int: ...

    @property
    def heads(self) -> int: ...

    @property
    def heads_per_kv(self) -> int:
        """Query heads that share one KV head (1 without grouping)."""
        ...

    def values(self, layer: int, head: int) -> FloatMatrix | None:
        """Return values 0..1 [rows, columns]."""
        ...

    def note(self, layer: int, head: int) -> str:
        """Return what to say of the selected map: entropy, sink, distance."""
        ...


@dataclass(frozen=True, slots=True)
class Tiles:
    """Lines and cells of one map, blank lines between layers, and the heads that fit side by side."""

    lines: int
    cells: int
    gap: int
    visible: int

    @property
    def pitch(self) -> int:
        """Body lines from one layer to the next."""
        return self.lines + self.gap


class HeatGrid(LinePane):
    """Layers down, heads across. Arrows select a map; the pane beside it can show that one large."""

    help_text = (
        "Every layer (down) and head (across) as a small map, brighter is larger, on a square-root scale. "
        "Arrows or hjkl select a head, Enter opens it. Query heads stand under the KV head they share."
    )

    def __init__(
        self,
        model: GridModel | None = None,
        *,
        empty: str = "No maps.",
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(empty=empty, id=id, classes=classes)
        self.model = model
        self.row = self.column = 0
        self.top_lines, self.bottom_lines = 2, 1
        self._first_head = 0
        self._tiles: dict[tuple[int, int, int, int], list[list[int]]] = {}

    def set_model(self, model: GridModel | None) -> None:
        """Show other maps, the selection where it was as far as that goes."""
        self.model = model
        self._tiles = {}
        if model is not None:
            self.row = min(self.row, max(0, model.layers - 1))
            self.column = min(self.column, max(0, model.heads - 1))
        self.content_changed()

    # Selection

    def show_cell(self, layer: int, head: int) -> None:
        """Select a map, telling nobody."""
        if self.model is None or not self.model.layers:
            return
        self.row = min(max(layer, 0), self.model.layers - 1)
        self.column = min(max(head, 0), self.model.heads - 1)
        if self.is_attached:
            self._follow()
            self.refresh()

    def move_to(self, layer: int, head: int) -> None:
        """Select a map for a person, and say so if that changed it."""
        before = self.row, self.column
        self.show_cell(layer, head)
        if (self.row, self.column) != before:
            self.post_message(CellMoved(self, self.row, self.column))

    def move(self, step: Offset) -> None:
        self.move_to(self.row + step.y, self.column + step.x)

    def page(self, direction: int) -> None:
        self.move(Offset(0, direction * max(1, self.body_height // self.tiles.pitch)))

    def edge(self, direction: int) -> None:
        self.move_to(self.row, 0 if direction < 0 or self.model is None else self.model.heads - 1)

    def click_at(self, at: Offset) -> bool:
        if self.model is None:
            return False
        tiles = self.tiles
        layer, inside = divmod(at.y, tiles.pitch)
        heads = range(self._first_head, self._first_head + tiles.visible)
        hit = next((head for head in heads if 0 <= at.x - self._x_of(head, tiles) < tiles.cells), None)
        if hit is None or inside >= tiles.lines or layer >= self.model.layers:
            return False
        self.move_to(layer, hit)
        return True

    def _follow(self) -> None:
        tiles = self.tiles
        self._first_head = min(max(self._first_head, self.column - tiles.visible + 1), self.column)
        self.show_line(self.row * tiles.pitch)
        self.show_line(self.row * tiles.pitch + tiles.lines)

    # Geometry

    @property
    def pen(self) -> PixelPen:
        """What draws the maps on this screen."""
        return PixelPen(self.glyphs, self.dark, self.colourless)

    @property
    def tiles(self) -> Tiles:
        """The largest roughly square maps that fit; more than fit are scrolled to."""
        assert self.model is not None
        layers, heads = max(1, self.model.layers), max(1, self.model.heads)
        width = max(1, self.body_width - GUTTER - 1 - self._groups(heads))
        pitch = self.body_height // layers
        gap = 0 if pitch <= LEAST_TILE + 1 else 1
        lines = min(max(pitch - gap, LEAST_TILE), LARGEST_TILE)
        cells = min(max(width // heads - 1, 2 * LEAST_TILE), 3 * lines)
        lines = min(lines, max(LEAST_TILE, cells // 2))
        return Tiles(lines, cells, gap, max(1, min(heads, width // (cells + 1))))

    def _groups(self, heads: int) -> int:
        assert self.model is not None
        return -(-heads // max(1, self.model.heads_per_kv)) - 1 if self.model.heads_per_kv > 1 else 0

    def _x_of(self, head: int, tiles: Tiles) -> int:
        """The first cell of a map; one more cell stands between groups."""
        before = self._groups(head + 1) - self._groups(self._first_head + 1)
        return GUTTER + 1 + (head - self._first_head) * (tiles.cells + 1) + before

    # Drawing

    def line_count(self) -> int:
        if self.model is None or not self.model.layers or not self.model.heads:
            return 0
        return self.model.layers * self.tiles.pitch

    def content_changed(self) -> None:
        super().content_changed()
        if self.is_attached and self.line_count():
            self._follow()

    def head_lines(self) -> Sequence[list[Segment]]:
        assert self.model is not None
        tiles, per_kv = self.tiles, max(1, self.model.heads_per_kv)
        names, groups = _Row(self), _Row(self)
        for head in self._visible_heads(tiles):
            ink: Ink = "cursor" if head == self.column else "dim"
            names.at(self._x_of(head, tiles), fit(str(head), tiles.cells, "center"), ink)
            if per_kv > 1 and (head % per_kv == 0 or head == self._first_head):
                span = self._group_cells(head, tiles)
                text = fit(f"kv {head // per_kv} ", span).rstrip()
                rule = self.glyphs.rule * max(0, span - len(text) - 1)
                lit = self.column // per_kv == head // per_kv
                groups.at(self._x_of(head, tiles), f"{text} {rule}"[:span], "accent" if lit else "dim")
        return [groups.segments, names.segments]

    def _group_cells(self, head: int, tiles: Tiles) -> int:
        assert self.model is not None
        per_kv = self.model.heads_per_kv
        last = min((head // per_kv + 1) * per_kv, self.model.heads, self._first_head + tiles.visible) - 1
        return self._x_of(last, tiles) + tiles.cells - self._x_of(head, tiles)

    def _visible_heads(self, tiles: Tiles) -> range:
        assert self.model is not None
        return range(self._first_head, min(self.model.heads, self._first_head + tiles.visible))

    def body_line(self, index: int) -> list[Segment]:
        tiles = self.tiles
        layer, inside = divmod(index, tiles.pitch)
        row = _Row(self)
        if inside == 0:
            row.at(0, fit(f"L{layer}", GUTTER - 1, "right"), "cursor" if layer == self.row else "dim")
        for head in self._visible_heads(tiles):
            x = self._x_of(head, tiles)
            chosen = layer == self.row and head == self.column
            if inside < tiles.lines:
                if chosen:
                    row.at(x - 1, self.glyphs.left_edge, "selected-mark")
                row.skip_to(x)
                row.extend(self._tile_line(layer, head, inside, tiles))
                if chosen:
                    row.at(x + tiles.cells, self.glyphs.right_edge, "selected-mark")
            elif chosen:
                row.at(x - 1, self.glyphs.bottom_edge * (tiles.cells + 2), "selected-mark")
        return row.segments

    def _tile_line(self, layer: int, head: int, line: int, tiles: Tiles) -> list[Segment]:
        rows = self._tile(layer, head, tiles)
        if not rows:
            return [self.brush.segment(self.glyphs.between * tiles.cells, "faint")]
        if self.pen.rows_per_line == 1:
            return list(self.pen.cells(rows[line]))
        return list(self.pen.halves(rows[2 * line], rows[2 * line + 1]))

    def _tile(self, layer: int, head: int, tiles: Tiles) -> list[list[int]]:
        assert self.model is not None
        key = layer, head, tiles.lines, tiles.cells
        if key not in self._tiles:
            values = self.model.values(layer, head)
            self._tiles[key] = [] if values is None else self._small(values, tiles)
        return self._tiles[key]

    def _small(self, values: FloatMatrix, tiles: Tiles) -> list[list[int]]:
        """A map as levels; where layers lie close, half a line between them stays dark."""
        rows = tiles.lines * self.pen.rows_per_line
        dark = 1 if tiles.gap == 0 and self.pen.rows_per_line > 1 else 0
        small = thumbnail(values, rows - dark, tiles.cells)
        drawn: list[list[int]] = levels(small, 0.0, 1.0, "sqrt").tolist()
        return drawn + [[0] * tiles.cells] * dark

    def foot_lines(self) -> Sequence[list[Segment]]:
        lines = _packed(self.copy_text(), self.body_width, self.bottom_lines)
        texts = [fit(line, self.body_width, ellipsis=self.glyphs.ellipsis) for line in lines]
        return [[self.brush.segment(text, "strong")] for text in texts]

    def copy_text(self) -> str:
        if self.model is None:
            return ""
        note = self.model.note(self.row, self.column)
        return f"layer {self.row} head {self.column}  {note}"


def _packed(text: str, width: int, count: int) -> list[str]:
    """Return `text` on `count` lines, broken only at double spaces; what is too much stays on the last."""
    lines = [""]
    for item in text.split("  "):
        longer = f"{lines[-1]}  {item}" if lines[-1] else item
        if cell_len(longer) <= width or len(lines) == count:
            lines[-1] = longer
        else:
            lines.append(item)
    return lines + [""] * (count - len(lines))


class _Row:
    """Segments put at columns from left to right, blanks filled in between."""

    def __init__(self, pane: HeatGrid) -> None:
        self.brush = pane.brush
        self.segments: list[Segment] = []
        self.used = 0

    def at(self, column: int, text: str, ink: Ink = "text") -> None:
        """Put `text` at `column`, or at once after what is already there."""
        self.skip_to(column)
        self.extend([self.brush.segment(text, ink)])

    def skip_to(self, column: int) -> None:
        """Leave blanks up to `column`."""
        if column > self.used:
            self.extend([self.brush.segment(" " * (column - self.used))])

    def extend(self, segments: list[Segment]) -> None:
        """Put segments after what is already there."""
        self.segments += segments
        self.used += sum(segment.cell_length for segment in segments)
