"""The command line at the bottom of the screen: history, completion, and errors under what they are about."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from workbench.completing import Completion, Offered, complete
from workbench.history import History
from workbench.typing_ahead import TakesText

PROMPT = ": "
_COLUMN = re.compile(r"column (\d+): (.*)", re.DOTALL)
Answer = Callable[[str | None], None]
Run = Callable[[str, Answer], None]
"""Carries a line out; the answer comes then or later: None, or what is wrong with it."""


class CommandLine(TakesText, ModalScreen[None]):
    """One line of the debugger's language. It closes when the line was carried out."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Leave"),
        Binding("up", "history(-1)", "The line before", priority=True),
        Binding("down", "history(1)", "The line after", priority=True),
        Binding("tab", "complete", "Complete", priority=True),
    ]

    def __init__(self, run: Run, history: History, offered: Offered, begun: str = "") -> None:
        super().__init__()
        self._run = run
        self._history = history
        self._offered = offered
        self._begun = begun
        self._cycle: Completion | None = None  # what further tabs go through
        self._next = 0

    def compose(self) -> ComposeResult:
        with Vertical(id="command-line"):
            with Horizontal(id="command"):
                yield Static(Content(PROMPT), id="command-prompt")
                yield Input(self._begun, compact=True, select_on_focus=False)
            yield Static("", id="command-note")

    def on_mount(self) -> None:
        self._history.begin()
        line = self.query_one(Input)
        self.set_focus(line)
        line.cursor_position = len(self._begun)

    @property
    def line(self) -> Input:
        return self.query_one(Input)

    # -- keys ----------------------------------------------------------------------------------------

    def action_history(self, direction: int) -> None:
        """Take a line that was typed before."""
        typed = self.line.value
        self._put(self._history.back(typed) if direction < 0 else self._history.forward(typed))

    def action_complete(self) -> None:
        """Complete the word before the cursor as far as that is clear; then go through what it could be."""
        if self._cycle is not None:
            self._next = (self._next + 1) % len(self._cycle.words)
            self._put(self.line.value[: self._cycle.start] + self._cycle.words[self._next], keep_cycle=True)
            return
        text = self.line.value[: self.line.cursor_position]
        found = complete(text, self._offered)
        if not found.words:
            self._note("nothing completes this")
        elif len(found.words) == 1:
            word = found.words[0]
            self._put(text[: found.start] + word + ("" if word.endswith(("(", "=")) else " "))
        elif len(found.common) > len(text) - found.start:
            self._put(text[: found.start] + found.common)
            self._note("  ".join(found.words))
        else:
            self._cycle, self._next = found, -1
            self._note("  ".join(found.words))

    def _put(self, text: str, *, keep_cycle: bool = False) -> None:
        cycle = self._cycle if keep_cycle else None
        with self.line.prevent(Input.Changed):
            self.line.value = text
        self.line.cursor_position = len(text)
        self._cycle = cycle
        if cycle is None:
            self._note("")

    def on_input_changed(self) -> None:
        self._cycle = None
        self._note("")

    # -- carrying out --------------------------------------------------------------------------------

    def on_input_submitted(self) -> None:
        text = self.line.value.strip()
        if not text:
            self.dismiss(None)
            return
        self._history.add(text)
        self._run(self.line.value, self._answered)

    def _answered(self, problem: str | None) -> None:
        if not self.is_attached:
            if problem:
                self.app.say(problem, problem=True)  # type: ignore[attr-defined]
        elif problem is None:
            self.dismiss(None)
        else:
            self._complain(problem)

    def _complain(self, problem: str) -> None:
        """Say what is wrong, under the place where it is."""
        found = _COLUMN.match(problem)
        if found is None:
            self._note(problem, "bad")
            return
        column, text = int(found[1]) - 1, found[2]
        self.line.cursor_position = min(column, len(self.line.value))
        at = column + len(PROMPT)
        room = self.size.width - at - 2
        beside = f"{' ' * at}^ {text}" if len(text) <= room or at < len(text) + 1 else f"{text} ^".rjust(at + 1)
        self._note(beside, "bad")

    def _note(self, text: str, kind: str = "") -> None:
        note = self.query_one("#command-note", Static)
        note.set_class(kind == "bad", "-bad")
        note.update(Content(text))


__all__ = ["Answer", "CommandLine", "Run"]
