"""The export dialog: a format and a path."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, RadioSet, Static

from workbench.exporting import FORMATS, MEANINGS, ExportJob, Format, default_target
from workbench.toggles import Check, Radio


class ExportBox(ModalScreen[ExportJob | None]):
    """Asks what to export and where to."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Leave")]

    def __init__(self, session: Path) -> None:
        super().__init__()
        self.session = session

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content(f"Export {self.session.name}"), classes="dialog-title")
            with RadioSet(id="format", compact=True):
                for number, each in enumerate(FORMATS):
                    yield Radio(Content(f"{each:9} {MEANINGS[each]}"), value=number == 0, compact=True)
            yield Static("to", classes="label")
            yield Input(str(default_target(self.session, FORMATS[0])), id="target", compact=True)
            yield Check("replace a file that is there", id="force", compact=True)
            yield Static("", id="problem")
            with Horizontal(classes="buttons"):
                yield Button("enter  export", id="yes", variant="primary", compact=True)
                yield Button("esc  leave", id="no", compact=True)

    @property
    def chosen(self) -> Format:
        index = self.query_one(RadioSet).pressed_index
        return FORMATS[max(0, index)]

    def on_radio_set_changed(self) -> None:
        self.query_one("#target", Input).value = str(default_target(self.session, self.chosen))

    def on_input_submitted(self) -> None:
        self._export()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self._export()
        else:
            self.dismiss(None)

    def _export(self) -> None:
        target = Path(self.query_one("#target", Input).value.strip()).expanduser()
        force = self.query_one(Check).value
        if target.name == "" or target.is_dir():
            self._complain("name a file, not a folder")
        elif target.exists() and not force:
            self._complain(f"{target} exists: choose another name, or replace it")
        else:
            self.dismiss(ExportJob(self.session, self.chosen, target, force))

    def _complain(self, text: str) -> None:
        self.query_one("#problem", Static).update(Content(text))


__all__ = ["ExportBox"]
