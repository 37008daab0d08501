"""Lanes: a text in two lanes, token over token: what was taken, and what was guessed in its place."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple, Protocol

from rich.segment import Segment
from textual.geometry import Offset

from workbench.widgets.cells import cell_len, fit, safe
from workbench.widgets.cursor import CursorPane
from workbench.widgets.inks import Ink


class Lane(NamedTuple):
    """One token of the upper lane, and what stands under it; either as wide as the wider one."""

    above: str
    below: str = ""
    ink: Ink = "text"
    ink_below: Ink = "dim"


class LanesModel(Protocol):
    """Tokens by index; more may come at the end."""

    @property
    def key(self) -> object:
        """What the text belongs to; under one key, shorter texts are prefixes of longer ones."""
        ...

    def __len__(self) -> int: ...

    def lane(self, index: int) -> Lane: ...

    def number(self, index: int) -> int:
        """The number that is written before a line that begins with this token."""
        ...


class Lanes(CursorPane):
    """Two lanes side by side in lines of the pane's width. Arrows move from token to token."""

    help_text = (
        "Two lanes: above the tokens as they are, below what was drafted for their place."
        " ← → move by token, ↑ ↓ by line, PgUp PgDn page, Home End jump, Enter opens the token, y copies it."
    )
    NUMBERS = 7
    """Cells for the number before a line."""

    def __init__(
        self,
        *,
        empty: str = "No tokens.",
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(empty=empty, id=id, classes=classes)
        self.model: LanesModel | None = None
        self._starts: list[int] = []
        self._laid = 0
        self._used = 0
        self._laid_for: object = None

    def set_model(self, model: LanesModel | None) -> None:
        """Show another text, or the same one with more tokens."""
        self.model = model
        self.items_changed()

    def item_count(self) -> int:
        return len(self.model) if self.model else 0

    # Layout

    def _lay(self) -> list[int]:
        """The first token of each line, brought up to date: only what is new is laid."""
        assert self.model is not None
        room = max(4, self.body_width - self.NUMBERS)
        wanted = (self.model.key, room)
        if wanted != self._laid_for or self._laid > len(self.model):
            self._starts, self._laid, self._used, self._laid_for = [0], 0, 0, wanted
        for index in range(self._laid, len(self.model)):
            width = min(room, lane_width(self.model.lane(index)))
            if self._used and self._used + width > room:
                self._starts.append(index)
                self._used = 0
            self._used += width
        self._laid = len(self.model)
        return self._starts

    def line_count(self) -> int:
        return 2 * len(self._lay()) if self.item_count() else 0

    def line_of(self, index: int) -> int:
        return 2 * (bisect_right(self._lay(), index) - 1) if self.item_count() else 0

    def _tokens(self, line: int) -> range:
        starts = self._lay()
        stop = starts[line // 2 + 1] if line // 2 + 1 < len(starts) else self._laid
        return range(starts[line // 2], stop)

    def _put_cursor(self, index: int) -> None:
        self.cursor = index
        if self.is_attached:
            line = self.line_of(index)
            self.show_line(line + 1)
            self.show_line(line)
            self.refresh()

    # Keys and mouse

    def move(self, step: Offset) -> None:
        if step.x:
            self.move_to(self.cursor + step.x)
        elif self.item_count():
            line = self.line_of(self.cursor) + 2 * step.y
            if 0 <= line < self.line_count():
                self.move_to(self._token_at(line, self._column_of(self.cursor)))

    def page(self, direction: int) -> None:
        self.move(Offset(0, direction * max(1, self.body_height // 2 - 1)))

    def click_at(self, at: Offset) -> bool:
        if not 0 <= at.y < self.line_count():
            return False
        self.move_to(self._token_at(at.y, at.x - self.NUMBERS))
        return True

    def _column_of(self, index: int) -> int:
        assert self.model is not None
        tokens = self._tokens(self.line_of(index))
        return sum(lane_width(self.model.lane(each)) for each in range(tokens.start, index))

    def _token_at(self, line: int, column: int) -> int:
        assert self.model is not None
        tokens, used = self._tokens(line), 0
        for index in tokens:
            used += lane_width(self.model.lane(index))
            if column < used:
                return index
        return tokens[-1]

    # Drawing

    def body_line(self, index: int) -> list[Segment]:
        assert self.model is not None
        tokens, upper = self._tokens(index), index % 2 == 0
        number = f"{self.model.number(tokens.start):>{self.NUMBERS - 2},}" if upper else ""
        gutter = number.rjust(self.NUMBERS - 2) + self.glyphs.separator + " "
        return [self.brush.segment(gutter, "faint"), *(self._cell(each, upper) for each in tokens)]

    def _cell(self, index: int, upper: bool) -> Segment:
        assert self.model is not None
        lane = self.model.lane(index)
        text = fit(lane.above if upper else lane.below, lane_width(lane), ellipsis=self.glyphs.ellipsis)
        brush = self.brush.over(self.cursor_ink) if index == self.cursor else self.brush
        return brush.segment(text, lane.ink if upper else lane.ink_below)

    def copy_text(self) -> str:
        """Return the token under the cursor."""
        return self.model.lane(self.cursor).above if self.model and self.item_count() else ""


def lane_width(lane: Lane) -> int:
    """The cells of a token: as many as the wider of both lanes."""
    return max(1, cell_len(safe(lane.above)), cell_len(safe(lane.below)))


__all__ = ["Lane", "Lanes", "LanesModel", "lane_width"]
