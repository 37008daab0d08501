"""TextPane: wrapped, inked paragraphs, such as a step's decisions; and DetailPane: keys with their values."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from rich.segment import Segment
from textual.geometry import Offset

from workbench.widgets.cursor import CursorPane
from workbench.widgets.spans import Line, Span, lay, pieces, plain
from workbench.widgets.wrap import wrap


class TextPane(CursorPane):
    """Paragraphs wrapped to the width; with `selectable` a cursor walks them, otherwise keys scroll."""

    ALLOW_SELECT = True
    help_text = (
        "Text. ↑ ↓ or j k move, PgUp PgDn page, Home End jump, Enter goes to what a line speaks of, y copies it."
    )

    def __init__(
        self,
        lines: Sequence[Line] = (),
        *,
        selectable: bool = False,
        indent: int = 2,
        empty: str = "Nothing to say yet.",
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(empty=empty, id=id, classes=classes)
        self.lines: Sequence[Line] = lines
        self.selectable = selectable
        self.indent = indent
        self._wrapped: list[list[Span]] = []
        self._starts: list[int] = []
        self._wrapped_for = -1

    def set_lines(self, lines: Sequence[Line]) -> None:
        """Show other paragraphs."""
        self.lines = lines
        self._wrapped_for = -1
        self.items_changed()

    def item_count(self) -> int:
        return len(self.lines)

    def line_count(self) -> int:
        self._wrap(self.body_width)
        return len(self._wrapped)

    def line_of(self, index: int) -> int:
        self._wrap(self.body_width)
        return self._starts[index] if self._starts else 0

    def body_line(self, index: int) -> list[Segment]:
        self._wrap(self.body_width)
        chosen = self.selectable and self._paragraph_at(index) == self.cursor
        brush = self.brush.over(self.cursor_ink) if chosen else self.brush
        return [brush.segment(" "), *lay(self._wrapped[index], max(0, self.body_width - 1), brush)]

    def copy_text(self) -> str:
        """Return the paragraph under the cursor, or everything where there is no cursor."""
        if self.selectable and self.lines:
            return plain(self.lines[self.cursor])
        return "\n".join(plain(line) for line in self.lines)

    def move(self, step: Offset) -> None:
        if self.selectable:
            super().move(step)
        else:
            self.scroll_relative(y=step.y, animate=False)

    def edge(self, direction: int) -> None:
        if self.selectable:
            super().edge(direction)
        else:
            self.scroll_to(y=0 if direction < 0 else self.max_scroll_y, animate=False)

    def click_at(self, at: Offset) -> bool:
        if not self.selectable or not 0 <= at.y < self.line_count():
            return False
        self.move_to(self._paragraph_at(at.y))
        return True

    def _put_cursor(self, index: int) -> None:
        super()._put_cursor(index)
        if self.is_attached:
            self.refresh()

    def _paragraph_at(self, line: int) -> int:
        return bisect_right(self._starts, line) - 1

    def _wrap(self, width: int) -> None:
        if self._wrapped_for == width:
            return
        self._wrapped, self._starts, self._wrapped_for = [], [], width
        for line in self.lines:
            self._starts.append(len(self._wrapped))
            self._wrapped.extend(self.wrap_line(line, width - 2))

    def wrap_line(self, line: Line, width: int) -> list[list[Span]]:
        """Return one paragraph as lines of at most `width` cells."""
        return wrap(line, width, self.indent)


class Fact(NamedTuple):
    """A key and its value; a key without a value is a heading."""

    key: str
    value: Line = ""


class DetailPane(TextPane):
    """Facts about the selected thing: keys in a column, values wrapped beside them, headings between."""

    help_text = "Details of what is selected. ↑ ↓ or j k scroll, y copies everything."

    def __init__(
        self,
        facts: Sequence[Fact] = (),
        *,
        key_width: int = 0,
        empty: str = "Nothing selected.",
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(empty=empty, id=id, classes=classes)
        self._fixed_key_width = key_width
        self.set_facts(facts)

    def set_facts(self, facts: Sequence[Fact]) -> None:
        """Show other facts."""
        width = self._fixed_key_width or max((len(fact.key) for fact in facts if fact.value), default=0) + 2
        self.indent = width
        self.set_lines([line for number, fact in enumerate(facts) for line in _fact_lines(fact, width, number)])


def _fact_lines(fact: Fact, key_width: int, number: int) -> list[Line]:
    """Return a fact's line; a heading has a blank line above it, except at the top."""
    if fact.value:
        return [[Span(fact.key.ljust(key_width), "dim"), *pieces(fact.value)]]
    return ["", Span(fact.key, "title")] if number else [Span(fact.key, "title")]


__all__ = ["DetailPane", "Fact", "TextPane"]
