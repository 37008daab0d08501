"""Check boxes and radio buttons whose mark, not only its colour, says whether they are on."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Checkbox, RadioButton


class Check(Checkbox):
    """A check box: `x` when on, blank when off."""

    @property
    def _button(self) -> Content:
        self.BUTTON_INNER = "x" if self.value else " "
        return super()._button


class Radio(RadioButton):
    """A radio button: `*` when on, blank when off."""

    @property
    def _button(self) -> Content:
        self.BUTTON_INNER = "*" if self.value else " "
        return super()._button


__all__ = ["Check", "Radio"]
