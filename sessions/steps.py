"""Questions about steps: their rows, and which are worth a stop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sessions.lineage import Segment
from sessions.records import Notable, StepRow
from sessions.tables import FOREVER, Tables


class StepCounts(NamedTuple):
    """What a step left behind: requests in the queue and running, tokens computed, blocks in tables."""

    step: int
    queued: int
    running: int
    tokens: int
    owned_blocks: int


class StepWork(NamedTuple):
    """What a step did: why it is notable, if it is, and the tokens it computed."""

    step: int
    notable: int
    prefill_tokens: int
    decode_tokens: int


class StepQueries(Tables):
    """The `steps` table. A step has a row once it has ended."""

    def last_step(self, branch: int = 0) -> int:
        """The latest step that ended, 0 before the first."""
        own = self._value("SELECT max(step) FROM steps WHERE branch = ?", branch)
        if own is not None or branch == 0:
            return own or 0
        return self.lineage(branch).segments[-1].first_step

    def step_row(self, step: int, branch: int = 0) -> StepRow | None:
        """The row of `step`; None for step 0 and a step that has not ended."""
        rows = self.step_rows(step, step, branch)
        return rows[0] if rows else None

    def step_rows(self, first: int, last: int, branch: int = 0) -> list[StepRow]:
        """The rows of steps `first` to `last`, both included, on the way to `branch`."""
        rows = self._steps("SELECT * FROM steps WHERE", first, last, branch)
        return [StepRow(*row) for row in rows]

    def step_counts(self, first: int, last: int, branch: int = 0) -> list[StepCounts]:
        """A few counts of steps `first` to `last`, both included: quick for many steps at once."""
        columns = "step, waiting + preempted, running, tokens, owned_blocks"
        return list(map(StepCounts._make, self._steps(f"SELECT {columns} FROM steps WHERE", first, last, branch)))

    def step_work(self, first: int, last: int, branch: int = 0) -> list[StepWork]:
        """What steps `first` to `last`, both included, did: quick for many steps at once."""
        columns = "step, notable, prefill_tokens, decode_tokens"
        return list(map(StepWork._make, self._steps(f"SELECT {columns} FROM steps WHERE", first, last, branch)))

    def notable_steps(self, first: int, last: int, branch: int = 0) -> list[tuple[int, Notable]]:
        """The notable steps from `first` to `last`, both included, and what makes them so."""
        rows = self._steps("SELECT step, notable FROM steps WHERE notable AND", first, last, branch)
        return [(step, Notable(notable)) for step, notable in rows]

    def next_notable(self, step: int, branch: int = 0) -> int | None:
        """The first notable step after `step`."""
        return self._first_found("min", self.lineage(branch).between(step + 1, FOREVER))

    def previous_notable(self, step: int, branch: int = 0) -> int | None:
        """The last notable step before `step`."""
        return self._first_found("max", reversed(list(self.lineage(branch).between(0, step - 1))))

    def _steps(self, question: str, first: int, last: int, branch: int) -> list[tuple[Any, ...]]:
        """The rows of steps `first` to `last`, in order."""
        question += " branch = ? AND step BETWEEN ? AND ? ORDER BY step"
        return [row for part in self.lineage(branch).between(first, last) for row in self._rows(question, *part)]

    def _first_found(self, which: str, parts: Iterable[Segment]) -> int | None:
        question = f"SELECT {which}(step) FROM steps WHERE branch = ? AND step BETWEEN ? AND ? AND notable"
        found = (self._value(question, *part) for part in parts)
        return next((step for step in found if step is not None), None)
