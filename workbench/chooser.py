"""Chooser: a short list over the screen, of which a person chooses a line; and Page, text to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from workbench.widgets.messages import Activated
from workbench.widgets.spans import Line
from workbench.widgets.textpane import TextPane


class Chosen(NamedTuple):
    """Line number `at` is to be opened, or removed."""

    at: int
    what: Literal["open", "remove"] = "open"


class Chooser(ModalScreen[Chosen | None]):
    """Lines, one of which is chosen with enter; None when it was left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Leave"),
        Binding("enter", "choose", "Choose", priority=True),
        Binding("d", "remove", "Remove"),
    ]

    def __init__(self, title: str, lines: Sequence[Line], *, at: int = 0, removable: bool = False) -> None:
        super().__init__()
        self.heading = title
        self.lines = lines
        self.at = at
        self.removable = removable

    def compose(self) -> ComposeResult:
        with Vertical(classes="list-box"):
            pane = TextPane(self.lines, selectable=True, classes="framed")
            pane.border_title = self.heading
            pane.border_subtitle = "enter chooses, " + ("d removes, " if self.removable else "") + "esc leaves"
            yield pane

    def on_mount(self) -> None:
        pane = self.query_one(TextPane)
        pane.show_cursor(self.at)
        pane.focus()

    def on_activated(self, message: Activated) -> None:
        message.stop()
        self.action_choose()

    def action_choose(self) -> None:
        self.dismiss(Chosen(self.query_one(TextPane).cursor) if self.lines else None)

    def action_remove(self) -> None:
        if self.removable and self.lines:
            self.dismiss(Chosen(self.query_one(TextPane).cursor, "remove"))


class Page(ModalScreen[None]):
    """Lines to read and scroll through."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter", "dismiss(None)", "Close", priority=True)]

    def __init__(self, title: str, lines: Sequence[Line]) -> None:
        super().__init__()
        self.heading = title
        self.lines = lines

    def compose(self) -> ComposeResult:
        with Vertical(classes="list-box"):
            pane = TextPane(self.lines, classes="framed")
            pane.border_title = self.heading
            pane.border_subtitle = "esc closes"
            yield pane

    def on_mount(self) -> None:
        self.query_one(TextPane).focus()


__all__ = ["Chooser", "Chosen", "Page"]
