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
        self._subject: object = None
        self._count = 0
        self._since = 0.0
        self._measuring: Measuring | None = None

    def visit(self, scene: Scene) -> bool:
        """Bring it up to date; False where it only grew, and too little time has passed."""
        count = len(scene.record.token_ids(scene.selection.request or ""))
        subject = (scene.record.path, scene.record.branch, scene.selection.request, self.opposite)
        if subject == self._subject and count == self._count:
            return True
        if subject == self._subject and time.monotonic() - self._since < GROWING_S:
            return False
        self._subject, self._count, self._since = subject, count, time.monotonic()
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
        if self.opposite is not None and isinstance(self.opposite.session, Session):
            self.opposite.session.close()
        self.opposite = opposite

    def stop(self) -> None:
        """End the measuring under way."""
        if self._measuring is not None:
            self._measuring.stop()
            self._measuring = None


__all__ = ["GROWING_S", "Kept"]
