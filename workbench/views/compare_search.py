"""The search for the first differing stage, in a process of its own: the screen neither waits nor loads torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from sessions.diff_result import DiffResult, StageSearch
from workbench.program import Program, ProgramError, Told
from workbench.views.compare_data import Comparison


class Wanted(NamedTuple):
    """Whose stages: the row that chose the token at `position`, in both runs."""

    a: str
    b: str
    one: str
    other: str
    position: int

    @classmethod
    def of(cls, comparison: Comparison, position: int) -> Wanted:
        a, b = comparison.a.session.path, comparison.b.session.path
        return cls(str(a), str(b), comparison.one, comparison.other, position)

    @property
    def arguments(self) -> Sequence[str]:
        """What `diff` is to be given."""
        pair, at = f"{self.one}:{self.other}", f"{self.one}:{self.position}"
        return ("diff", self.a, self.b, "--pair", pair, "--at", at, "--json", "--progress")


class SearchError(RuntimeError):
    """A search that came to nothing: one line."""


class Search:
    """One search: `run` blocks, on a worker's thread; `stop` ends it from any other."""

    def __init__(self, command: Sequence[str], wanted: Wanted) -> None:
        self.wanted = wanted
        self._program = Program([*command, *wanted.arguments])

    def run(self, told: Told) -> StageSearch | None:
        """What was found; None when it was stopped. `told` hears how far it is. Raises SearchError."""
        try:
            answer = self._program.run(told, good=(0, 1))
            result = None if answer is None else msgspec.json.decode(answer, type=DiffResult)
        except ProgramError as error:
            raise SearchError(str(error)) from None
        except msgspec.DecodeError:
            raise SearchError(self._program.said or "the search ended without an answer") from None
        if result is not None and result.search is None:
            raise SearchError("the search ended without an answer")
        return None if result is None else result.search

    def stop(self) -> None:
        self._program.stop()


__all__ = ["Search", "SearchError", "Wanted"]
