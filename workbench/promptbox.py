"""The prompt box: a text, and how its tokens are to be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static, TextArea

from engine.params import OptionError, RequestSpec, SamplingParams
from engine.protocol import RequestText
from workbench.settings_fields import FIELDS as SETTINGS
from workbench.settings_fields import Field, read_field
from workbench.toggles import Check
from workbench.typing_ahead import TakesText

SAMPLES = Field("n", int, "1", "samples")
BEAMS = Field("beams", int, "1", "1 is no beam search")
_BY_NAME = {field.name: field for field in SETTINGS}
FIELDS: Sequence[Field] = (
    *(_BY_NAME[name] for name in ("max_tokens", "temperature", "top_k", "top_p", "min_p")),
    SAMPLES,
    *(_BY_NAME[name] for name in ("seed", "stop", "adapter")),
    BEAMS,
)


def read_request(text: str, chat: bool, values: dict[str, str]) -> RequestText:
    """The request a person typed. Raises OptionError, which names the setting, its value and what is allowed."""
    if not text:
        raise OptionError("the prompt is empty: type something")
    typed: dict[str, Any] = {field.name: read_field(field, values[field.name]) for field in FIELDS}
    n = typed.pop("n")
    params = SamplingParams(**typed)
    RequestSpec((0,), params, n)  # the engine's own checks, n among them
    if chat:
        return RequestText(messages=({"role": "user", "content": text},), params=params, n=n)
    return RequestText(prompt=text, params=params, n=n)


class PromptBox(TakesText, ModalScreen[RequestText | None]):
    """Asks for a prompt and its settings; they are checked before it closes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Leave"),
        Binding("ctrl+d", "submit", "Submit", priority=True),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="prompt-box"):
            yield Static("New request", classes="dialog-title")
            yield TextArea(id="prompt", compact=True, tab_behavior="focus")
            yield Check("chat: put it through the model's chat template", id="chat", compact=True)
            with Vertical(id="settings"):
                for first in range(0, len(FIELDS), 2):
                    with Horizontal(classes="setting-row"):
                        for field in FIELDS[first : first + 2]:
                            yield Static(Content(field.name), classes="label")
                            yield Input(field.default, id=field.name, placeholder=field.note, compact=True)
            yield Static("", id="problem")
            with Horizontal(classes="buttons"):
                yield Button(Content("ctrl+d  submit"), id="yes", variant="primary", compact=True)
                yield Button(Content("esc  leave"), id="no", compact=True)

    def on_mount(self) -> None:
        self.query_one(TextArea).focus()

    def on_input_submitted(self) -> None:
        self.action_submit()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_submit()
        else:
            self.dismiss(None)

    def action_submit(self) -> None:
        values = {field.name: self.query_one(f"#{field.name}", Input).value for field in FIELDS}
        try:
            request = read_request(self.query_one(TextArea).text, self.query_one("#chat", Check).value, values)
        except OptionError as error:
            self.query_one("#problem", Static).update(Content(str(error)))
        else:
            self.dismiss(request)


__all__ = ["FIELDS", "PromptBox", "read_request"]
