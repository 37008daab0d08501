"""CursorPane: a pane whose cursor is an index into a list of items."""

from __future__ import annotations

from textual.geometry import Offset

from workbench.widgets.messages import CursorMoved
from workbench.widgets.pane import LinePane


class CursorPane(LinePane):
    """A pane of one item a line unless a subclass says otherwise.

    `show_cursor` is for the app and posts nothing; keys and the mouse go through `move_to`, which posts
    one message when the cursor moved.
    """

    def __init__(
        self,
        *,
        empty: str = "Nothing here yet.",
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(empty=empty, id=id, classes=classes)
        self.cursor = 0

    def item_count(self) -> int:
        """Return how many items the cursor can be on."""
        return 0

    def line_of(self, index: int) -> int:
        """Return the body line item `index` is drawn on."""
        return index

    def line_count(self) -> int:
        return self.item_count()

    def on_resize(self) -> None:
        super().on_resize()
        if self.item_count():
            self.show_line(self.line_of(self.cursor))

    def items_changed(self) -> None:
        """Take note of another model: keep the cursor inside it and draw again."""
        self.cursor = min(max(self.cursor, 0), max(0, self.item_count() - 1))
        self.content_changed()

    def show_cursor(self, index: int) -> None:
        """Put the cursor on item `index` and into view, telling nobody."""
        index = min(max(index, 0), max(0, self.item_count() - 1))
        if self.item_count():
            self._put_cursor(index)

    def move_to(self, index: int) -> None:
        """Put the cursor on item `index` for a person, and say so if that moved it."""
        before = self.cursor
        self.show_cursor(index)
        if self.cursor != before:
            self.post_message(CursorMoved(self, self.cursor))

    def _put_cursor(self, index: int) -> None:
        before, self.cursor = self.cursor, index
        if self.is_attached:
            self.refresh_body_line(self.line_of(before))
            self.refresh_body_line(self.line_of(index))
            self.show_line(self.line_of(index))

    def move(self, step: Offset) -> None:
        self.move_to(self.cursor + step.y)

    def edge(self, direction: int) -> None:
        self.move_to(0 if direction < 0 else self.item_count() - 1)

    def click_at(self, at: Offset) -> bool:
        if not 0 <= at.y < self.item_count():
            return False
        self.move_to(at.y)
        return True
