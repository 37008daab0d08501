"""OneLine: a line of the frame: inked parts, some of them clickable, the least important left out first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from workbench.widgets.cells import cell_len, cut
from workbench.widgets.inks import Brush
from workbench.widgets.pane import brush_on
from workbench.widgets.spans import Bar, Line, Piece, Span, lay, pieces


class Item(NamedTuple):
    """A part of the line that stays or goes as a whole; those of the highest `priority` number go first."""

    line: Line
    priority: int = 0
    action: str = ""  # what a click does
    right: bool = False  # on the right end of the line


class OneLine(Widget):
    """One line of items, `gap` cells apart."""

    class Clicked(Message):
        """A person clicked the item of `action`."""

        def __init__(self, action: str) -> None:
            super().__init__()
            self.action = action

    DEFAULT_CSS = """
    OneLine { height: 1; width: 1fr; background: $background; color: $foreground; }
    """

    def __init__(self, *, gap: int = 3, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self.items: Sequence[Item] = ()
        self.gap = gap
        self._brush: Brush | None = None
        self._spots: list[tuple[int, int, str]] = []

    def show_items(self, items: Sequence[Item]) -> None:
        """Show other items; nothing is drawn when they are the same."""
        if items != self.items:
            self.items = items
            self.refresh()

    @property
    def brush(self) -> Brush:
        if self._brush is None:
            self._brush = brush_on(self)
        return self._brush

    def notify_style_update(self) -> None:
        self._brush = None
        super().notify_style_update()

    def placed(self) -> list[Item]:
        """The items there is room for."""
        kept = list(self.items)
        while kept and self._needed(kept) > self.size.width and any(item.priority for item in kept):
            worst = max(item.priority for item in kept)
            kept.remove(next(item for item in reversed(kept) if item.priority == worst))
        return kept

    def _needed(self, items: Sequence[Item]) -> int:
        return 2 + sum(width_of(item.line) for item in items) + self.gap * max(0, len(items) - 1)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y:
            return Strip.blank(width, self.rich_style)
        kept = self.placed()
        left = [item for item in kept if not item.right]
        right = [item for item in kept if item.right]
        self._spots = []
        segments = self._draw(left, 1)
        free = width - sum(segment.cell_length for segment in segments)
        tail = self._needed(right) - 1 if right else 0
        segments.append(self.brush.segment(" " * max(1, free - tail)))
        segments += self._draw(right, width - tail)[1:]
        return Strip(segments).adjust_cell_length(width, self.brush.base)

    def _draw(self, items: Sequence[Item], at: int) -> list[Segment]:
        segments = [self.brush.segment(" ")]
        for number, item in enumerate(items):
            if number:
                segments.append(self.brush.segment(" " * self.gap))
                at += self.gap
            width = min(width_of(item.line), max(0, self.size.width - at))
            segments += lay(item.line, width, self.brush)
            if item.action:
                self._spots.append((at, at + width, item.action))
            at += width
        return segments

    def on_click(self, event: events.Click) -> None:
        for start, stop, action in self._spots:
            if start <= event.x < stop:
                self.post_message(self.Clicked(action))
                event.stop()

    def text(self) -> str:
        """The line as plain text."""
        return "".join(segment.text for segment in self.render_line(0)).rstrip()


def width_of(line: Line) -> int:
    """The cells a line takes."""
    return sum(_width(piece) for piece in pieces(line))


def _width(piece: Piece) -> int:
    if isinstance(piece, Bar):
        return piece.width
    return cell_len(cut(piece.text if isinstance(piece, Span) else piece, 1000))


__all__ = ["Item", "OneLine", "width_of"]
