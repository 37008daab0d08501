"""Slots: what lies in a block, token by token, and which step wrote each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.ids import request_of
from engine.kv.blocks import NO_WRITER
from sessions.records import BlockChange
from workbench.bench import Scene
from workbench.widgets.columns import Column
from workbench.widgets.spans import Line, Span

COLUMNS = (
    Column("slot", 4, "right", 2),
    Column("pos", 5, "right"),
    Column("token", least=8),
    Column("step", 6, "right", 1),
)
MOST_STEPS = 512
BEGINNINGS = ("allocated", "copied")


class Slots:
    """The slots of one block at one moment; `history` is the block's, newest change first."""

    columns: Sequence[Column] = COLUMNS

    def __init__(self, scene: Scene, block: int, history: Sequence[BlockChange]) -> None:
        blocks = scene.moment.state.blocks
        self._record = scene.record
        self._step = scene.moment.step
        self._fill = blocks.fill[block]
        self._size = blocks.block_size
        self.start = blocks.index[block] * self._size
        code = blocks.writer[block]
        self.writer = None if code == NO_WRITER else request_of(code)
        self.beginning = next((change for change in history if change.change in BEGINNINGS), None)
        self._ids = scene.record.token_ids(self.writer) if self.writer else ()
        self._steps: Mapping[int, int] | None = None

    def __len__(self) -> int:
        return self._size if self.writer else 0

    def row(self, index: int) -> Sequence[Line]:
        position = self.start + index
        slot = Span(str(index), "dim")
        if index >= self._fill or position >= len(self._ids):
            return slot, Span(str(position), "faint"), Span("empty", "faint"), ""
        text = self._record.token_text(self._ids[position])
        return slot, Span(str(position), "dim"), Span(text), self._written(position)

    def changed(self, index: int) -> bool:
        return index < self._fill and self.steps.get(self.start + index) == self._step

    @property
    def steps(self) -> Mapping[int, int]:
        """The step that wrote each position, as far back as was looked."""
        if self._steps is None:
            self._steps = self._find_steps()
        return self._steps

    @property
    def span(self) -> tuple[int, int] | None:
        """The first and the last step that wrote into the block."""
        found = self.steps.values()
        return (min(found), max(found)) if found else None

    def _written(self, position: int) -> Line:
        step = self.steps.get(position)
        if step is not None:
            return Span(f"{step:,}", "changed" if step == self._step else "dim")
        if self.beginning is not None and self.beginning.change == "copied":
            return Span(f"={self.beginning.step:,}", "dim")
        return Span("–", "faint")

    def _find_steps(self) -> Mapping[int, int]:
        """Steps that computed the positions in the block since it was given to its writer."""
        if self.writer is None or self.beginning is None:
            return {}
        found: dict[int, int] = {}
        first = self.beginning.step
        stop = min(self._step + 1, first + MOST_STEPS)
        for row in self._record.step_rows(first, stop):
            for work in row.works if row.error is None else ():
                if work.request == self.writer:
                    here = range(max(work.start, self.start), min(work.stop, self.start + self._fill))
                    found |= {position: row.step for position in here if position not in found}
            if len(found) == self._fill:
                break
        return found


__all__ = ["Slots"]
