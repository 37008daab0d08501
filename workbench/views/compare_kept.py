"""The comparison on the screen: made anew when the selection, its opposite or the record has changed."""

from __future__ import annotations

import time

from sessions.reader import Session
from workbench.bench import Scene
from workbench.views.compare_data import Comparison, Opposite, compare_at
from workbench.views.compare_measuring import Measuring

GROWING_S = 1.0
"""How often a request that still grows is compared anew."""


class Kept:
    """What is compared with what. `comparison` is a text where there is nothing to compare: what helps."""

    def __init__(self) -> None:
        self.comparison: Comparison | str = ""
        self.opposite: Opposite | None = None
        self.position: int | None = None  # what is selected, where the left one is not on the screen
        self._subject: object = None
        self._length: tuple[int, ...] = ()  # of the left request, and of the sessions that are not on the screen
        self._since = 0.0
        self._measuring: Measuring | None = None

    @property
    def apart(self) -> bool:
        """Whether what is compared is not of the session on the screen."""
        return self.opposite is not None and self.opposite.left is not None

    @property
    def _others(self) -> list[Session]:
        """The sessions that are compared and are not on the screen."""
        both = () if self.opposite is None else (self.opposite.session, self.opposite.left)
        return [session for session in both if session is not None]

    def refresh(self) -> bool:
        """Whether anything was written to a session that is not on the screen since the last call."""
        return sum(session.refresh() for session in self._others) > 0

    def selected(self, scene: Scene) -> int | None:
        """The selected position of the left request."""
        return self.position if self.apart else scene.selection.position

    def visit(self, scene: Scene) -> bool:
        """Bring it up to date; False where it only grew, and too little time has passed."""
        tokens = 0 if self.apart else len(scene.record.token_ids(scene.selection.request or ""))
        length = (tokens, *(session.last_seq for session in self._others))
        on_screen = (scene.record.path, scene.record.branch, scene.selection.request)
        subject = (*(() if self.apart else on_screen), self.opposite)
        if subject == self._subject and length == self._length:
            return True
        if subject == self._subject and time.monotonic() - self._since < GROWING_S:
            return False
        self._subject, self._length, self._since = subject, length, time.monotonic()
        self.stop()
        before, self.comparison = self.comparison, compare_at(scene, self.opposite)
        if isinstance(before, Comparison) and isinstance(self.comparison, Comparison):
            self.comparison.take_over(before)
        return True

    def to_measure(self) -> Measuring | None:
        """Who is to measure the comparison, once for each."""
        if self._measuring is not None or isinstance(self.comparison, str):
            return None
        self._measuring = Measuring(self.comparison)
        return self._measuring

    def take(self, opposite: Opposite | None) -> None:
        """Put something else on the right."""
        self.stop()
        for session in self._others:
            session.close()
        self.opposite, self.position = opposite, None

    def stop(self) -> None:
        """End the measuring under way."""
        if self._measuring is not None:
            self._measuring.stop()
            self._measuring = None


__all__ = ["GROWING_S", "Kept"]
