"""Small questions: one line of input at the bottom, or yes and no."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from workbench.typing_ahead import TakesText


class Ask(TakesText, ModalScreen[str | None]):
    """Asks for one line; None when it was left with `esc`."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Leave")]

    def __init__(self, question: str, placeholder: str = "", value: str = "") -> None:
        super().__init__()
        self.question = question
        self.placeholder = placeholder
        self.value = value

    def compose(self) -> ComposeResult:
        with Horizontal(id="ask"):
            yield Static(Content(self.question), id="ask-question")
            yield Input(self.value, placeholder=self.placeholder, compact=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip() or None)


class Confirm(ModalScreen[bool]):
    """Asks before something that cannot be undone; another key than the one that asked says yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes"),
        Binding("n,escape", "dismiss(False)", "No"),
    ]

    def __init__(self, question: str, yes: str) -> None:
        super().__init__()
        self.question = question
        self.yes = yes

    def compose(self) -> ComposeResult:
        with Vertical(id="confirm", classes="dialog"):
            yield Static(Content(self.question))
            with Horizontal(classes="buttons"):
                yield Button(Content(f"y  {self.yes}"), id="yes", variant="warning", compact=True)
                yield Button(Content("n  no"), id="no", compact=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")


class Way(NamedTuple):
    """One way to answer: a key, what it does, and why it cannot be chosen, if so."""

    key: str
    text: str
    why_not: str = ""


class Decide(ModalScreen[str | None]):
    """Asks which way to go; the key of the way, None when it was left."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,n", "dismiss(None)", "Leave")]

    def __init__(self, question: str, ways: Sequence[Way], leave: str) -> None:
        super().__init__()
        self.question = question
        self.ways = ways
        self.leave = leave

    def compose(self) -> ComposeResult:
        with Vertical(id="decide", classes="dialog"):
            yield Static(Content(self.question), id="decide-question")
            for way in self.ways:
                text = f"{way.key}  {way.text}" if not way.why_not else f"{way.key}  not possible: {way.why_not}"
                yield Button(Content(text), id=f"way-{way.key}", compact=True, disabled=bool(way.why_not))
            yield Button(Content(f"n  {self.leave}"), id="way-n", compact=True)

    def on_key(self, event: events.Key) -> None:
        if any(way.key == event.key and not way.why_not for way in self.ways):
            event.stop()
            self.dismiss(event.key)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        key = str(event.button.id).removeprefix("way-")
        self.dismiss(None if key == "n" else key)


__all__ = ["Ask", "Confirm", "Decide", "Way"]
