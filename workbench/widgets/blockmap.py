"""BlockMap: every physical KV block as one mark, or many blocks to a cell when there are too many."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import ClassVar, NamedTuple, Protocol

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Offset

from workbench.widgets.cells import fit
from workbench.widgets.cursor import CursorPane
from workbench.widgets.glyphs import Glyphs
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Span, lay

CHANGED = 0x10
"""Flag of a block that this step took, freed, shared or cached."""
LIT = 0x20
"""Flag of a block in the selected request's table."""


class BlockState(IntEnum):
    """What a block is, in the low bits of its byte."""

    FREE = 0
    CACHED = 1
    OWNED = 2
    SHARED = 3


class BlockMapModel(Protocol):
    """Blocks by index, read a range at a time."""

    def __len__(self) -> int: ...

    def states(self, start: int, stop: int) -> bytes:
        """Return one byte a block: its `BlockState`, with `CHANGED` and `LIT` or-ed in."""
        ...

    def describe(self, index: int) -> str:
        """Return one line about a block."""
        ...


class StateLook(NamedTuple):
    """How a state is written and drawn."""

    name: str
    ink: Ink
    mark: str
    mark_changed: str


def looks(glyphs: Glyphs) -> dict[BlockState, StateLook]:
    """Return the look of every state: each has its own mark, and another one when it changed."""
    return {
        BlockState.FREE: StateLook("free", "kv-free", glyphs.free, glyphs.freed_now),
        BlockState.CACHED: StateLook("cached", "kv-cached", glyphs.cached, glyphs.cached_now),
        BlockState.OWNED: StateLook("owned", "kv-owned", glyphs.owned, glyphs.owned_now),
        BlockState.SHARED: StateLook("shared", "kv-shared", glyphs.shared, glyphs.shared_now),
    }


class Cell(NamedTuple):
    """What one cell of the map says of the blocks in it."""

    state: BlockState
    used: float
    changed: bool
    lit: bool


def summarise(states: bytes) -> Cell:
    """Return the commonest state in use among some blocks, and how many of them are in use."""
    plain = states.translate(_STATE_ONLY)
    counts = {state: plain.count(state) for state in BlockState}
    free = counts.pop(BlockState.FREE)
    state = max(counts, key=lambda name: (counts[name], name))
    flags = states.translate(None, _NO_FLAGS)
    return Cell(
        state if counts[state] else BlockState.FREE,
        1 - free / len(states),
        any(byte & CHANGED for byte in set(flags)),
        any(byte & LIT for byte in set(flags)),
    )


_STATE_ONLY = bytes(byte & 0x0F for byte in range(256))
_NO_FLAGS = bytes(byte for byte in range(256) if not byte & (CHANGED | LIT))


class BlockMap(CursorPane):
    """The block pool as a map. Arrows move from block to block, + and - zoom."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "zoom(1)", "Zoom in", show=False, id="blockmap.zoom_in"),
        Binding("minus", "zoom(-1)", "Zoom out", show=False, id="blockmap.zoom_out"),
    ]
    help_text = (
        "Physical KV blocks. Arrows or hjkl move, PgUp PgDn page, Home End jump, + - zoom, Enter opens the "
        "block. Hollow or dotted marks changed in this step; lit blocks belong to the selected request."
    )

    def __init__(
        self,
        model: BlockMapModel | None = None,
        *,
        empty: str = "No blocks.",
        legend: bool = True,
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(empty=empty, id=id, classes=classes)
        self.model = model
        self.zoom = 0
        self.bottom_lines = 2 if legend else 0
        self._counts: dict[BlockState, int] | None = None

    def set_model(self, model: BlockMapModel | None) -> None:
        """Show another state of the pool, the cursor where it was."""
        self.model = model
        self._counts = None
        self.items_changed()

    # Geometry

    def item_count(self) -> int:
        return len(self.model) if self.model else 0

    @property
    def _label_width(self) -> int:
        return len(str(max(0, self.item_count() - 1))) + 1

    @property
    def cell_width(self) -> int:
        """Cells a map cell takes: two, a mark and a blank, as long as every block has its own and room allows."""
        roomy = self.item_count() * 2 <= (self.body_width - self._label_width) * max(1, self.body_height)
        return 2 if self.blocks_per_cell == 1 and (roomy or self.zoom > 0) else 1

    @property
    def blocks_per_cell(self) -> int:
        """How many blocks one cell stands for: a power of two, 1 at the closest zoom."""
        room = max(1, (self.body_width - self._label_width) * max(1, self.body_height))
        fitting = max(1, -(-self.item_count() // room))
        return max(1, 1 << max(0, (fitting - 1).bit_length() - self.zoom))

    @property
    def cells_per_line(self) -> int:
        """Map cells on one line: a multiple of 8 where there is room, so that columns mean something."""
        room = max(1, (self.body_width - self._label_width) // self.cell_width)
        return room // 8 * 8 or room

    @property
    def blocks_per_line(self) -> int:
        """How many blocks one line stands for."""
        return self.cells_per_line * self.blocks_per_cell

    def line_count(self) -> int:
        return -(-self.item_count() // self.blocks_per_line)

    def line_of(self, index: int) -> int:
        return index // self.blocks_per_line

    # Keys and mouse

    def move(self, step: Offset) -> None:
        self.move_to(self.cursor + step.x * self.blocks_per_cell + step.y * self.blocks_per_line)

    def click_at(self, at: Offset) -> bool:
        cell = (at.x - self._label_width) // self.cell_width
        index = at.y * self.blocks_per_line + cell * self.blocks_per_cell
        if at.x < self._label_width or cell >= self.cells_per_line or not 0 <= index < self.item_count():
            return False
        self.move_to(index)
        return True

    def action_zoom(self, direction: int) -> None:
        closest = self.blocks_per_cell == 1 and self.cell_width == 2
        if direction > 0 and closest:
            return
        self.zoom = max(0, self.zoom + direction)
        self.content_changed()
        self.show_line(self.line_of(self.cursor))

    def _put_cursor(self, index: int) -> None:
        super()._put_cursor(index)
        if self.is_attached and self.bottom_lines:
            self.refresh()

    # Drawing

    def body_line(self, index: int) -> list[Segment]:
        assert self.model is not None
        start = index * self.blocks_per_line
        states = self.model.states(start, min(start + self.blocks_per_line, len(self.model)))
        label = fit(str(start), self._label_width - 1, "right")
        per_cell = self.blocks_per_cell
        cells = [
            self._cell(summarise(states[offset : offset + per_cell]), start + offset)
            for offset in range(0, len(states), per_cell)
        ]
        return [self.brush.segment(f"{label} ", "faint"), *(segment for cell in cells for segment in cell)]

    def _cell(self, cell: Cell, first: int) -> list[Segment]:
        look = looks(self.glyphs)[cell.state]
        brush = self.brush.over("lit") if cell.lit else self.brush
        chosen = first <= self.cursor < first + self.blocks_per_cell
        if chosen:
            brush = brush.over("cursor" if self.has_focus else "cursor-blurred")
        segment = brush.segment(self._mark(cell, look), "changed" if cell.changed else look.ink)
        return [segment] if self.cell_width == 1 else [segment, self.brush.segment(" ")]

    def _mark(self, cell: Cell, look: StateLook) -> str:
        if self.blocks_per_cell == 1:
            return look.mark_changed if cell.changed else look.mark
        if cell.changed:
            return look.mark_changed
        shades = self.glyphs.shades
        filled = -(-round(cell.used * 100) * (len(shades) - 1) // 100)
        return shades[filled] if filled else look.mark

    def foot_lines(self) -> Sequence[list[Segment]]:
        width = self.body_width
        return [lay(self._legend(), width, self.brush), lay(Span(self.copy_text(), "strong"), width, self.brush)]

    def _legend(self) -> list[Span]:
        spans = []
        for state, look in looks(self.glyphs).items():
            spans += [Span(look.mark, look.ink), Span(f" {look.name} {self.counts[state]}  ", "dim")]
        spans += [Span(looks(self.glyphs)[BlockState.OWNED].mark_changed, "changed"), Span(" changed  ", "dim")]
        if self.blocks_per_cell > 1:
            spans.append(Span(f"1 cell = {self.blocks_per_cell} blocks  + zooms in", "dim"))
        return spans

    @property
    def counts(self) -> dict[BlockState, int]:
        """Blocks by state."""
        if self._counts is None:
            whole = self.model.states(0, len(self.model)).translate(_STATE_ONLY) if self.model else b""
            self._counts = {state: whole.count(state) for state in BlockState}
        return self._counts

    def copy_text(self) -> str:
        """Return one line about the block under the cursor."""
        return self.model.describe(self.cursor) if self.model and len(self.model) else ""


__all__ = ["CHANGED", "LIT", "BlockMap", "BlockMapModel", "BlockState", "summarise"]
