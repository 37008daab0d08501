"""Comparing the distributions of two requests position by position, away from the screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from sessions.diff_compare import compare_position
from sessions.diff_result import PositionDifference
from sessions.diff_side import Side
from sessions.errors import SessionError
from workbench.views.compare_data import Comparison

BETWEEN_S = 0.2


class Measuring:
    """Fills `found` of a comparison; `stop` may be called from any thread."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    def run(self, grew: Callable[[], object]) -> None:
        """On a worker's thread, with sessions of its own; `grew` is called now and then, and at the end."""
        told = time.monotonic()
        try:
            with self._comparison.a.session.reopen() as one, self._comparison.b.session.reopen() as other:
                sides = Side(one, self._comparison.a.branch), Side(other, self._comparison.b.branch)
                for found in self._positions(*sides):
                    self._comparison.found[found.position] = found
                    if time.monotonic() - told > BETWEEN_S:
                        told = time.monotonic()
                        grew()
            self._comparison.complete = not self._stopped
        except SessionError:
            return  # the file is damaged or gone: what was compared stays
        if not self._stopped:
            grew()

    def run_through(self) -> None:
        """Here and now."""
        for found in self._positions(self._comparison.a, self._comparison.b):
            self._comparison.found[found.position] = found
        self._comparison.complete = True

    def _positions(self, a: Side, b: Side) -> Iterator[PositionDifference]:
        comparison = self._comparison
        for position in comparison.comparable:
            if self._stopped:
                return
            if position not in comparison.found:
                found = compare_position(a, b, comparison.one, comparison.other, position)
                if found is not None:
                    yield found
