"""Slots: what lies in a block, token by token, and which step wrote each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

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


class Written(NamedTuple):
    """A step that computed a slot, and for whom."""

    step: int
    request: str


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
        self.beginning = scene.record.block_given_out(block, scene.moment.step) if self.writer else None
        self._ids = scene.record.token_ids(self.writer) if self.writer else ()
        self._left = left(history, self.beginning)
        self._steps: Mapping[int, Written] | None = None

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
        return (
            index < self._fill
            and self.start + index in self.steps
            and (self.steps[self.start + index].step == self._step)
        )

    @property
    def steps(self) -> Mapping[int, Written]:
        """Who wrote each position, and in which step; only `MOST_STEPS` steps are looked through."""
        if self._steps is None:
            self._steps = self._find_steps()
        return self._steps

    @property
    def span(self) -> tuple[int, int] | None:
        """The first and the last step that wrote into the block."""
        found = [written.step for written in self.steps.values()]
        return (min(found), max(found)) if found else None

    @property
    def writers(self) -> Sequence[str]:
        """Who wrote into the block: one request, or samples of one prompt."""
        names = dict.fromkeys(self.steps[position].request for position in sorted(self.steps))
        return list(names) or ([self.writer] if self.writer else [])

    def _written(self, position: int) -> Line:
        written = self.steps.get(position)
        if written is not None:
            return Span(f"{written.step:,}", "changed" if written.step == self._step else "dim")
        if self.beginning is not None and self.beginning.change == "copied":
            return Span(f"={self.beginning.step:,}", "dim")
        return Span("–", "faint")

    def _find_steps(self) -> Mapping[int, Written]:
        """Look through the batches since the block was given to somebody."""
        if self.writer is None or self.beginning is None:
            return {}
        found: dict[int, Written] = {}
        first = self.beginning.step
        for row in self._record.step_rows(first, min(self._step + 1, first + MOST_STEPS)):
            for work in row.works if row.error is None else ():
                if row.step < self._until(work.request):
                    here = range(max(work.start, self.start), min(work.stop, self.start + self._fill))
                    found |= {at: Written(row.step, work.request) for at in here if at not in found}
            if len(found) == self._fill:
                break
        return found

    def _until(self, request: str) -> int:
        """The step from which on what a request computes no longer lands in this block."""
        return self._step + 1 if request == self.writer else self._left.get(request, 0)


def left(history: Sequence[BlockChange], beginning: BlockChange | None) -> Mapping[str, int]:
    """When each request gave the block up that had it before its writer went on in it."""
    if beginning is None:
        return {}
    changes = takewhile(lambda change: change.seq >= beginning.seq, history)
    return {
        change.request: change.step
        for change in changes
        if change.change == "released" and change.request is not None
    }


__all__ = ["Slots"]
