"""BlockMap: every physical KV block as one mark, or many blocks to a cell when there are too many."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

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


@runtime_checkable
class Tagged(Protocol):
    """A model that can write a few characters beside a block's mark, where there is room."""

    @property
    def tag_width(self) -> int: ...

    def tag(self, index: int) -> str:
        """Return at most `tag_width` cells about a block, such as who owns it."""
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


_STATE_OF = bytes(byte & 0x0F for byte in range(256))
_FLAGS_OF = bytes(byte & (CHANGED | LIT) for byte in range(256))
_IN_USE = (BlockState.SHARED, BlockState.OWNED, BlockState.CACHED)


def summarise(blocks: bytes, per_cell: int) -> list[Cell]:
    """Return a cell for every `per_cell` blocks: their commonest state in use, how many are, and their flags."""
    states, flags = blocks.translate(_STATE_OF), blocks.translate(_FLAGS_OF)
    flagged = any(flags)
    cells = []
    for start in range(0, len(blocks), per_cell):
        here = states[start : start + per_cell]
        marks = set(flags[start : start + per_cell]) if flagged else ()
        changed = any(mark & CHANGED for mark in marks)
        cells.append(Cell(*_commonest(here), changed, any(mark & LIT for mark in marks)))
    return cells


def _commonest(states: bytes) -> tuple[BlockState, float]:
    """Return the commonest state that is not free, and the share of blocks that are not."""
    counts = [states.count(state) for state in _IN_USE]
    used = sum(counts)
    state = _IN_USE[counts.index(max(counts))] if used else BlockState.FREE
    return state, used / len(states)


class Grid(NamedTuple):
    """How blocks lie on the pane: blocks and screen cells per map cell, map cells per line."""

    per_cell: int
    cell_width: int
    per_line: int
    label_width: int

    @property
    def blocks_per_line(self) -> int:
        """How many blocks one line stands for."""
        return self.per_line * self.per_cell


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
    def grid(self) -> Grid:
        """The closest zoom at which all blocks fit, or closer by as many powers of two as the person zoomed.

        One block to a map cell is as close as it gets; there a cell takes two columns, a mark and a blank, or has
        room for a tag, where that fits or was asked for.
        """
        count = self.item_count()
        label = len(str(max(0, count - 1))) + 1
        width, height = max(1, self.body_width - label), max(1, self.body_height)
        fitting = max(0, (-(-count // (width * height)) - 1).bit_length())
        per_cell = 1 << max(0, fitting - self.zoom)
        cell_width = 1
        for closer, wider in enumerate(self._cell_widths[1:]):
            fits = _lines(count, width // wider) <= height
            if per_cell == 1 and (fits or self.zoom > fitting + closer):
                cell_width = wider
        return Grid(per_cell, cell_width, _cells_per_line(width // cell_width), label)

    @property
    def _cell_widths(self) -> Sequence[int]:
        """How wide the cell of one block can be: a mark, with a blank, with a tag."""
        return (1, 2, self.model.tag_width + 2) if isinstance(self.model, Tagged) else (1, 2)

    @property
    def best_height(self) -> int:
        """The lines it takes to show every block as roomily as can be, those below the map included."""
        count = self.item_count()
        width = max(1, self.body_width - len(str(max(0, count - 1))) - 1)
        return _lines(count, width // self._cell_widths[-1]) + self.bottom_lines

    def line_count(self) -> int:
        return -(-self.item_count() // self.grid.blocks_per_line)

    def line_of(self, index: int) -> int:
        return index // self.grid.blocks_per_line

    # Keys and mouse

    def move(self, step: Offset) -> None:
        grid = self.grid
        self.move_to(self.cursor + step.x * grid.per_cell + step.y * grid.blocks_per_line)

    def click_at(self, at: Offset) -> bool:
        grid = self.grid
        cell = (at.x - grid.label_width) // grid.cell_width
        index = at.y * grid.blocks_per_line + cell * grid.per_cell
        if not 0 <= cell < grid.per_line or not 0 <= index < self.item_count():
            return False
        self.move_to(index)
        return True

    def action_zoom(self, direction: int) -> None:
        if direction > 0 and self.grid.cell_width == self._cell_widths[-1]:
            return
        self.zoom = max(0, self.zoom + direction)
        self.content_changed()
        self.show_line(self.line_of(self.cursor))

    def _put_cursor(self, index: int) -> None:
        super()._put_cursor(index)
        if self.is_attached:
            self.refresh_foot()

    # Drawing

    def body_line(self, index: int) -> list[Segment]:
        assert self.model is not None
        grid = self.grid
        start = index * grid.blocks_per_line
        blocks = self.model.states(start, min(start + grid.blocks_per_line, len(self.model)))
        at = (self.cursor - start) // grid.per_cell
        table = looks(self.glyphs)
        segments = [self.brush.segment(fit(str(start), grid.label_width - 1, "right") + " ", "faint")]
        for number, cell in enumerate(summarise(blocks, grid.per_cell)):
            segments.append(self._cell(cell, table[cell.state], grid, number == at))
            if grid.cell_width > 1:
                segments += self._beside(start + number, cell, grid.cell_width - 1, number == at)
        return segments

    def _beside(self, index: int, cell: Cell, width: int, chosen: bool) -> list[Segment]:
        """Return what stands beside a block's mark: its tag, and a blank."""
        if width == 1 or not isinstance(self.model, Tagged):
            return [self.brush.segment(" " * width)]
        brush = self.brush.over("lit") if cell.lit else self.brush
        brush = brush.over(self.cursor_ink) if chosen else brush
        tag = fit(self.model.tag(index), width - 1, ellipsis=self.glyphs.ellipsis)
        return [brush.segment(tag, "text" if cell.lit or chosen else "dim"), self.brush.segment(" ")]

    def _cell(self, cell: Cell, look: StateLook, grid: Grid, chosen: bool) -> Segment:
        brush = self.brush.over("lit") if cell.lit else self.brush
        brush = brush.over(self.cursor_ink) if chosen else brush
        if cell.changed:
            return brush.segment(look.mark_changed, "changed")
        if grid.per_cell == 1 or not cell.used:
            return brush.segment(look.mark, look.ink)
        return brush.segment(look.mark if cell.used > 0.5 else self.glyphs.sparse, look.ink)

    def foot_lines(self) -> Sequence[list[Segment]]:
        width = self.body_width
        return [lay(self._legend(), width, self.brush), lay(Span(self.copy_text(), "strong"), width, self.brush)]

    def _legend(self) -> list[Span]:
        spans = []
        if (per_cell := self.grid.per_cell) > 1:
            spans += [Span(f"1 cell = {per_cell} blocks, + zooms in  ", "warn")]
            spans += [Span(self.glyphs.sparse, "kv-owned"), Span(" mostly free  ", "dim")]
        for state, look in looks(self.glyphs).items():
            spans += [Span(look.mark, look.ink), Span(f" {look.name} {self.counts[state]}  ", "dim")]
        spans += [Span(looks(self.glyphs)[BlockState.OWNED].mark_changed, "changed"), Span(" changed  ", "dim")]
        return spans

    @property
    def counts(self) -> dict[BlockState, int]:
        """Blocks by state."""
        if self._counts is None:
            whole = self.model.states(0, len(self.model)).translate(_STATE_OF) if self.model else b""
            self._counts = {state: whole.count(state) for state in BlockState}
        return self._counts

    def copy_text(self) -> str:
        """Return one line about the block under the cursor."""
        return self.model.describe(self.cursor) if self.model and len(self.model) else ""


def _cells_per_line(room: int) -> int:
    """Return a multiple of 8 where there is room, so that columns mean something."""
    return room // 8 * 8 or max(1, room)


def _lines(blocks: int, room: int) -> int:
    return -(-blocks // _cells_per_line(room))


__all__ = ["CHANGED", "LIT", "BlockMap", "BlockMapModel", "BlockState", "summarise"]
