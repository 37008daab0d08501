"""The export dialog: a format, which part of the session, what only that format has, and a path."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, ItemGrid, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, RadioSet, Static

from workbench.exporting import FORMATS, ExportJob, ExportOptions, Format, default_target
from workbench.toggles import Check, Radio
from workbench.typing_ahead import TakesText

FIELDS: Final[dict[str, str]] = {
    "steps": "all, or 10:20",
    "requests": "all, or 1,3.0",
    "layers": "all, or 0-3",
    "stages": "all, or attn_pattern",
    "step": "the last",
    "branch": "the latest",
    "max_mb": "25",
    "size": "100x30",
    "views": "overview",
    "fps": "4",
}
"""The options that are typed, and what holds when nothing is."""
_NUMBERS: Final[dict[str, type[int] | type[float]]] = {"step": int, "branch": int, "max_mb": float, "fps": float}


class ExportBox(TakesText, ModalScreen[ExportJob | None]):
    """Asks what to export and where to."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Leave")]

    def __init__(self, session: Path) -> None:
        super().__init__()
        self.session = session
        self.names = tuple(FORMATS)

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog export", can_focus=False):
            yield Static(Content(f"Export {self.session.name}"), classes="dialog-title")
            with RadioSet(id="format", compact=True):
                for number, name in enumerate(self.names):
                    yield Radio(Content(f"{name:11} {FORMATS[name].meaning}"), value=number == 0, compact=True)
            with ItemGrid(id="options", min_column_width=32):
                for name, otherwise in FIELDS.items():
                    with Horizontal(classes="option", id=f"row-{name}"):
                        yield Static(name.replace("_", " "), classes="label")
                        yield Input(placeholder=otherwise, id=f"option-{name}", compact=True)
            yield Check("redact: text becomes marks, token ids pseudonyms", id="redact", compact=True)
            yield Check("replace a file that is there", id="force", compact=True)
            with Horizontal(classes="option"):
                yield Static("to", classes="label")
                yield Input(str(default_target(self.session, self.names[0])), id="target", compact=True)
            yield Static("", id="problem")
            with Horizontal(classes="buttons"):
                yield Button("enter  export", id="yes", variant="primary", compact=True)
                yield Button("esc  leave", id="no", compact=True)

    def on_mount(self) -> None:
        self._offer()

    @property
    def chosen(self) -> Format:
        index = self.query_one(RadioSet).pressed_index
        return FORMATS[self.names[max(0, index)]]

    def on_radio_set_changed(self) -> None:
        self.query_one("#target", Input).value = str(default_target(self.session, self.chosen.name))
        self._offer()

    def _offer(self) -> None:
        """Show the options that the format has."""
        for name in FIELDS:
            self.query_one(f"#row-{name}").display = name in self.chosen.options

    def on_input_submitted(self) -> None:
        self._export()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self._export()
        else:
            self.dismiss(None)

    def _export(self) -> None:
        target = Path(self.query_one("#target", Input).value.strip()).expanduser()
        force = self.query_one("#force", Check).value
        try:
            options = self._options()
        except ValueError as error:
            self._complain(str(error))
            return
        if target.name == "" or (target.is_dir() and self.chosen.shape == "file"):
            self._complain("name a file, not a folder")
        elif target.exists() and not force:
            self._complain(f"{target} exists: choose another name, or replace it")
        else:
            self.dismiss(ExportJob(self.session, self.chosen.name, target, options, force))

    def _options(self) -> ExportOptions:
        """What was typed for this format. Raises ValueError with a line for what is no number."""
        typed = {name: self.query_one(f"#option-{name}", Input).value.strip() for name in FIELDS}
        given = {name: _value(name, text) for name, text in typed.items() if text and name in self.chosen.options}
        return ExportOptions(redact=self.query_one("#redact", Check).value, **given)  # type: ignore[arg-type]

    def _complain(self, text: str) -> None:
        self.query_one("#problem", Static).update(Content(text))


def _value(name: str, text: str) -> str | int | float:
    kind = _NUMBERS.get(name)
    if kind is None:
        return text
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name.replace('_', ' ')} is {text!r}: type a number") from None


__all__ = ["ExportBox"]
