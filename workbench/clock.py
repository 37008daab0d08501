"""Clock: where in recorded time the screen is, LIVE (following the run) or in the PAST."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cursor:
    """A point in recorded time: after everything recorded for `step` of `branch`."""

    branch: int
    step: int
    live: bool


class Clock:
    """The cursor and how far it can go. Every method that moves it says whether it moved."""

    def __init__(self, branch: int = 0) -> None:
        self.cursor = Cursor(branch, 0, live=True)
        self.last_step = 0

    @property
    def live(self) -> bool:
        return self.cursor.live

    @property
    def step(self) -> int:
        return self.cursor.step

    @property
    def branch(self) -> int:
        return self.cursor.branch

    def grown(self, last_step: int) -> bool:
        """The record now ends with `last_step`: a live cursor follows, one in the past stays."""
        self.last_step = last_step
        return self._move(last_step, live=True) if self.live else False

    def seek(self, step: int) -> bool:
        """Go to `step`, into the past even when it is the last one, so that a run does not carry it away."""
        return self._move(min(max(step, 0), self.last_step), live=False)

    def back(self) -> bool:
        """One step towards the start."""
        return self.step > 0 and self.seek(self.step - 1)

    def forward(self) -> bool:
        """One step towards the end; reaching the end is being live again."""
        if self.live:
            return False
        return self.go_live() if self.step + 1 >= self.last_step else self.seek(self.step + 1)

    def go_live(self) -> bool:
        """Follow the run again."""
        return self._move(self.last_step, live=True)

    def _move(self, step: int, *, live: bool) -> bool:
        before, self.cursor = self.cursor, Cursor(self.branch, step, live)
        return self.cursor != before


__all__ = ["Clock", "Cursor"]
