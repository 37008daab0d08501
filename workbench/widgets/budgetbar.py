"""BudgetBar: the batch of a step against its token budget."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from textual.geometry import Offset

from workbench.widgets.bars import Part, shares, stacked
from workbench.widgets.cells import cell_len
from workbench.widgets.cursor import CursorPane


class BudgetBar(CursorPane):
    """One stacked bar: a part for each request's tokens in this step, the rest of the budget left open."""

    help_text = "The batch of this step against the token budget, a part for each request. ← → select a part."

    def __init__(
        self,
        *,
        empty: str = "No batch in this step.",
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(empty=empty, id=id, classes=classes)
        self.parts: Sequence[Part] = ()
        self.total = 0.0
        self.unit = ""

    def set_parts(self, parts: Sequence[Part], total: float, unit: str = "tokens") -> None:
        """Show another batch."""
        self.parts, self.total, self.unit = parts, total, unit
        self.items_changed()

    def item_count(self) -> int:
        return len(self.parts)

    def line_count(self) -> int:
        return 1 if self.parts else 0

    def line_of(self, index: int) -> int:
        return 0 if index >= 0 else -1

    @property
    def label(self) -> str:
        """How much of the budget is used, in words."""
        used = sum(part.amount for part in self.parts)
        return f" {used:g} / {self.total:g} {self.unit} "

    @property
    def _room(self) -> int:
        return max(0, self.body_width - cell_len(self.label))

    def move(self, step: Offset) -> None:
        if step.x:
            self.move_to(self.cursor + step.x)

    def click_at(self, at: Offset) -> bool:
        edge = 0
        for index, cells in enumerate(shares([part.amount for part in self.parts], self.total, self._room)):
            edge += cells
            if at.x < edge:
                self.move_to(index)
                return True
        return False

    def body_line(self, index: int) -> list[Segment]:
        assert index == 0
        bar = stacked(self.parts, self.total, self._room, self.brush)
        return [*bar, self.brush.segment(self.label)]

    def copy_text(self) -> str:
        if not self.parts:
            return ""
        part = self.parts[self.cursor]
        return f"{part.label} {part.amount:g}{self.label}".strip()
