"""What panes say when a person acts in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from workbench.widgets.pane import LinePane


class PaneMessage(Message):
    """Something a person did in a pane; `control` lets handlers select by pane."""

    def __init__(self, pane: LinePane) -> None:
        super().__init__()
        self.pane = pane

    @property
    def control(self) -> LinePane:
        return self.pane


class MovedMessage(PaneMessage):
    """A message of which only the newest matters."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, type(self)) and message.pane is self.pane


class CursorMoved(MovedMessage):
    """The cursor of a one-dimensional pane moved to item `index` (a row, token, block, node or step)."""

    def __init__(self, pane: LinePane, index: int) -> None:
        super().__init__(pane)
        self.index = index


class CellMoved(MovedMessage):
    """The cursor of a two-dimensional pane moved to (`row`, `column`)."""

    def __init__(self, pane: LinePane, row: int, column: int) -> None:
        super().__init__(pane)
        self.row = row
        self.column = column


class Zoomed(PaneMessage):
    """A pane shows time at another zoom: those below it that share its steps follow."""


class Activated(PaneMessage):
    """Enter or a double click on the item under the cursor: drill in."""
