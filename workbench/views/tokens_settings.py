"""SettingsPane: the sampler's settings as a small form, the recorded value beside the one that is tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import msgspec
from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Offset

from engine.params import SamplingParams
from workbench.views.tokens_whatif import Settings
from workbench.widgets.cells import fit
from workbench.widgets.cursor import CursorPane
from workbench.widgets.inks import Ink
from workbench.widgets.messages import PaneMessage

NAME, VALUE = 13, 9


class Field(NamedTuple):
    """A setting, the values the keys step through, and the value that switches it off."""

    name: str
    title: str
    ladder: tuple[float, ...]
    off: float | None = None


def _steps(first: float, last: float, step: float) -> tuple[float, ...]:
    return tuple(round(first + i * step, 6) for i in range(round((last - first) / step) + 1))


FIELDS: tuple[Field, ...] = (
    Field("temperature", "temperature", _steps(0, 3, 0.1)),
    Field("top_k", "top-k", (0, 1, 2, 3, 5, 10, 20, 40, 50, 80, 100, 200, 500, 1000), 0),
    Field("top_p", "top-p", (*_steps(0.05, 0.95, 0.05), 0.98, 0.99, 1.0), 1),
    Field("min_p", "min-p", (0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5), 0),
    Field("repetition_penalty", "repetition", _steps(0.5, 2, 0.05), 1),
    Field("presence_penalty", "presence", _steps(-2, 2, 0.1), 0),
    Field("frequency_penalty", "frequency", _steps(-2, 2, 0.1), 0),
)


def stepped(params: SamplingParams, field: Field, direction: int) -> SamplingParams:
    """`params` with one setting moved to the next value of its ladder, as far as that goes."""
    value = getattr(params, field.name)
    beyond = [step for step in field.ladder if (step - value) * direction > 1e-9]
    if not beyond:
        return params
    wanted = beyond[0] if direction > 0 else beyond[-1]
    return msgspec.structs.replace(params, **{field.name: type(value)(wanted)})


class SettingsChanged(PaneMessage):
    """A person tried other settings."""

    def __init__(self, pane: SettingsPane, tried: SamplingParams) -> None:
        super().__init__(pane)
        self.tried = tried


class SettingsPane(CursorPane):
    """One line a setting. Left and right change it; the stages beside it are worked again."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("backspace,delete", "recorded", "As recorded", show=False, id="settings.recorded"),
    ]
    help_text = (
        "What if the sampler had been set differently? ↑ ↓ choose a setting, ← → change it, Backspace takes the "
        "recorded value back, Esc ends. The stages are worked out again from the logits of one inspection, with "
        "the same draw; the run itself is not changed."
    )

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(empty="No request is selected.", id=id, classes=classes)
        self.settings: Settings | None = None
        self.bottom_lines = 1

    def set_settings(self, settings: Settings | None) -> None:
        """Show other settings."""
        self.settings = settings
        self.items_changed()

    def item_count(self) -> int:
        return len(FIELDS) if self.settings else 0

    def move(self, step: Offset) -> None:
        if step.y:
            super().move(step)
        elif self.settings is not None:
            self._try(stepped(self.settings.tried, FIELDS[self.cursor], step.x))

    def action_recorded(self) -> None:
        """Take the recorded value back."""
        if self.settings is not None:
            name = FIELDS[self.cursor].name
            recorded = getattr(self.settings.recorded, name)
            self._try(msgspec.structs.replace(self.settings.tried, **{name: recorded}))

    def click_at(self, at: Offset) -> bool:
        """A click on an arrow changes the setting."""
        if not super().click_at(at):
            return False
        arrows = self._arrows
        if at.x in arrows:
            self.move(Offset(-1 if at.x == arrows[0] else 1, 0))
        return True

    @property
    def _arrows(self) -> tuple[int, int]:
        return 2 + NAME + VALUE, 2 + NAME + 2 * VALUE + 3

    def _try(self, tried: SamplingParams) -> None:
        assert self.settings is not None
        if tried != self.settings.tried:
            self.post_message(SettingsChanged(self, tried))

    # Drawing

    def body_line(self, index: int) -> list[Segment]:
        assert self.settings is not None
        field = FIELDS[index]
        was, now = getattr(self.settings.recorded, field.name), getattr(self.settings.tried, field.name)
        brush = self.brush.over(self.cursor_ink) if index == self.cursor else self.brush
        changed = was != now
        ink: Ink = "changed" if changed else "text"
        mark = self.glyphs.changed if changed else " "
        arrows: Ink = "key" if index == self.cursor else "faint"
        line = [
            brush.segment(f"{mark} ", "changed"),
            brush.segment(fit(field.title, NAME), "dim"),
            brush.segment(fit(value_text(field, was), VALUE - 1, "right") + " ", "dim"),
            brush.segment("< ", arrows),
            brush.segment(fit(value_text(field, now), VALUE, "center"), ink),
            brush.segment(" >", arrows),
        ]
        used = sum(segment.cell_length for segment in line)
        return [*line, brush.segment(" " * max(0, self.body_width - used))]

    def foot_lines(self) -> Sequence[list[Segment]]:
        text = "  ← → change   ⌫ as recorded   esc end"
        if not self.glyphs.half_blocks:
            text = "  left right change   backspace as recorded   esc end"
        return [[self.brush.segment(fit(text, self.body_width, ellipsis=self.glyphs.ellipsis), "dim")]]

    def copy_text(self) -> str:
        return self.settings.changes if self.settings else ""


def value_text(field: Field, value: float) -> str:
    """A setting's value, and what it means where it means something special."""
    if field.name == "temperature" and value == 0:
        return "greedy"
    return "off" if value == field.off else f"{value:g}"


__all__ = ["FIELDS", "Field", "SettingsChanged", "SettingsPane", "stepped", "value_text"]
