"""How sure the model was, token by token: what a chart along the text shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sessions.records import TokenRow
from workbench.views.request_text import RequestText
from workbench.widgets.inks import Ink

NONE = -1.0
"""A prompt token, or one nothing was recorded of: an empty column."""


class Course:
    """A number of every token, by position."""

    limit = 0.0

    def __init__(
        self, name: str, ink: Ink, text: RequestText, number: Callable[[TokenRow], float | None]
    ) -> None:
        self.name = name
        self.ink: Ink = ink
        self._text = text
        self._number = number

    def __len__(self) -> int:
        return len(self._text)

    def values(self, start: int, stop: int) -> Sequence[float]:
        return [self._value(index) for index in range(start, min(stop, len(self)))]

    def written(self, value: float) -> str:
        return "–" if value == NONE else f"{value:.2f}"

    def _value(self, index: int) -> float:
        row = self._text.row(index)
        number = None if row is None else self._number(row)
        return NONE if number is None else number


def course_of(text: RequestText) -> Sequence[Course]:
    """How surprising each token was, and how unsure the model before it."""
    return (
        Course("surp", "accent", text, lambda row: None if row.raw_logprob is None else -row.raw_logprob),
        Course("entr", "prefill", text, lambda row: row.entropy),
    )


__all__ = ["NONE", "Course", "course_of"]
