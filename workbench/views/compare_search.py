"""The search for the first differing stage, in a process of its own: the screen neither waits nor loads torch."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from sessions.diff_result import DiffResult, StageSearch
from workbench.views.compare_data import Comparison

Told = Callable[[str], None]


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


@dataclass
class Search:
    """One search: `run` blocks, on a worker's thread; `stop` ends it from any other."""

    command: Sequence[str]
    wanted: Wanted
    _process: subprocess.Popen[str] | None = None
    _stopped: bool = False

    def run(self, told: Told) -> StageSearch | None:
        """What was found; None when it was stopped. `told` hears how far it is. Raises SearchError."""
        with tempfile.TemporaryFile() as answer:
            said = self._run(answer.fileno(), told)
            if self._stopped:
                return None
            answer.seek(0)
            try:
                result = msgspec.json.decode(answer.read(), type=DiffResult)
            except msgspec.DecodeError:
                raise SearchError(said or "the search ended without an answer") from None
        if result.search is None:
            raise SearchError("the search ended without an answer")
        return result.search

    def stop(self) -> None:
        self._stopped = True
        if self._process is not None:
            self._process.terminate()

    def _run(self, answer: int, told: Told) -> str:
        """Wait for the process; the last line it said."""
        said = ""
        command = [*self.command, *self.wanted.arguments]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=answer, stderr=subprocess.PIPE, text=True, errors="replace"
        ) as process:
            self._process = process
            if self._stopped:
                process.terminate()
            assert process.stderr is not None
            for line in process.stderr:
                said = line.strip() or said
                told(said)
        return said.removeprefix("workbench: ")


__all__ = ["Search", "SearchError", "Wanted"]
