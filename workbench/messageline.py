"""MessageLine: what was said last, for a while; else what to press."""

from __future__ import annotations

from textual.timer import Timer

from workbench.oneline import Item, OneLine
from workbench.widgets.spans import Span

MESSAGE_S = 8.0


class MessageLine(OneLine):
    """One line of text. On a short screen it is there only while the screen has the class `-message`."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._said: Item | None = None
        self._hint = ""
        self._urgent = False
        self._timer: Timer | None = None

    def say(self, text: str, *, problem: bool = False) -> None:
        """Show `text` for some seconds."""
        self._said = Item(Span(text, "bad" if problem else "accent"))
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(MESSAGE_S, self.hush)
        self._show()

    def hush(self) -> None:
        """What was said has been read."""
        self._said = None
        self._show()

    def hint(self, text: str, *, urgent: bool) -> None:
        """What to show when nothing was said; what is urgent has the line on a short screen, too."""
        self._hint, self._urgent = text, urgent
        self._show()

    def _show(self) -> None:
        self.show_items([self._said or Item(Span(self._hint, "dim"))])
        self.screen.set_class(self._said is not None or self._urgent, "-message")


__all__ = ["MessageLine"]
