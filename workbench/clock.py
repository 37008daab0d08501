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
    """The cursor and how far it can go. Every method that moves it says whether it moved.

    Only the newest branch goes on: on an earlier one the cursor is never live.
    """

    def __init__(self, branch: int = 0) -> None:
        self.cursor = Cursor(branch, 0, live=True)
        self.last_step = 0
        self.newest = True  # whether the branch is the one that may go on

    @property
    def live(self) -> bool:
        return self.cursor.live

    @property
    def step(self) -> int:
        return self.cursor.step

    @property
    def branch(self) -> int:
        return self.cursor.branch

    @property
    def at_end(self) -> bool:
        """Whether the branch has no later step."""
        return self.live or self.step >= self.last_step

    def grown(self, last_step: int) -> bool:
        """The record now ends with `last_step`: a live cursor follows, one in the past stays."""
        self.last_step = last_step
        return self._move(last_step, live=True) if self.live else False

    def turn(self, branch: int, last_step: int, *, newest: bool, step: int | None = None) -> bool:
        """Look at another branch: at its end, or at `step` of it."""
        before = self.cursor
        self.last_step, self.newest = last_step, newest
        at = last_step if step is None else min(max(step, 0), last_step)
        self.cursor = Cursor(branch, at, live=newest and step is None)
        return self.cursor != before

    def seek(self, step: int) -> bool:
        """Go to `step`, into the past even when it is the last one, so that a run does not carry it away."""
        return self._move(min(max(step, 0), self.last_step), live=False)

    def back(self) -> bool:
        """One step towards the start."""
        return self.step > 0 and self.seek(self.step - 1)

    def forward(self) -> bool:
        """One step towards the end; reaching the end of the newest branch is being live again."""
        if self.live:
            return False
        return self.go_to_end() if self.step + 1 >= self.last_step else self.seek(self.step + 1)

    def go_to_end(self) -> bool:
        """To the latest step of the branch; follow the run again where it is the newest one."""
        return self._move(self.last_step, live=self.newest)

    def _move(self, step: int, *, live: bool) -> bool:
        before, self.cursor = self.cursor, Cursor(self.branch, step, live)
        return self.cursor != before


__all__ = ["Clock", "Cursor"]
