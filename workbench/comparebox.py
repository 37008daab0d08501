"""The dialog that asks what to compare with: another session, or another request of this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from sessions.places import SUFFIX, sessions_folder
from workbench.typing_ahead import TakesText

NEWEST = 12


@dataclass(frozen=True, slots=True)
class Choice:
    """A session file, or a request of the session on the screen."""

    session: Path | None = None
    request: str | None = None


def newest_sessions(beside: Path, most: int = NEWEST) -> list[Path]:
    """The newest sessions in the user's folder and beside the one on the screen, without that one."""
    folders = {sessions_folder(), beside.resolve().parent}
    files = {file.resolve() for folder in folders if folder.is_dir() for file in folder.glob(f"*{SUFFIX}")}
    return sorted(files - {beside.resolve()}, key=lambda file: file.stat().st_mtime, reverse=True)[:most]


class CompareBox(TakesText, ModalScreen[Choice | None]):
    """Offers requests of this session and the newest sessions; any other is named by its path."""

    AUTO_FOCUS = ""  # the choices, or the path where there are none
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Leave")]

    def __init__(self, requests: Sequence[tuple[str, str]], sessions: Sequence[Path]) -> None:
        """`requests` are ids with what to say of them."""
        super().__init__()
        self.choices = [Choice(request=request) for request, _ in requests]
        self.choices += [Choice(session=path) for path in sessions]
        self.names = [f"request {request}  {about}" for request, about in requests]
        self.names += [f"session {path.name}" for path in sessions]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="compare-box"):
            yield Static(Content("Compare the selected request with"), classes="dialog-title")
            options = [Option(Content(name)) for name in self.names]
            yield OptionList(*options, id="compare-choices", compact=True)
            yield Static("or a session file", classes="label")
            yield Input(placeholder="path of a session", id="compare-path", compact=True)
            yield Static("", id="problem")
            with Horizontal(classes="buttons"):
                yield Button("enter  compare", id="yes", variant="primary", compact=True)
                yield Button("esc  leave", id="no", compact=True)

    def on_mount(self) -> None:
        self.query_one("#compare-choices" if self.choices else "#compare-path").focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self.choices[event.option_index])

    def on_input_submitted(self) -> None:
        self._take_path()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "no":
            self.dismiss(None)
        else:
            self._take_path()

    def _take_path(self) -> None:
        text = self.query_one("#compare-path", Input).value.strip()
        chosen = self.query_one(OptionList).highlighted
        if text:
            path = Path(text).expanduser()
            if path.is_file():
                self.dismiss(Choice(session=path))
            else:
                self.query_one("#problem", Static).update(Content(f"{text}: no such session file"))
        elif chosen is not None:
            self.dismiss(self.choices[chosen])


__all__ = ["Choice", "CompareBox", "newest_sessions"]
