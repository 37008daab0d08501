"""Questions about steps: their rows, and which are worth a stop."""

from __future__ import annotations

from typing import NamedTuple

from sessions.records import Notable, StepRow
from sessions.tables import Tables


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
        return self._value("SELECT max(step) FROM steps WHERE branch = ?", branch) or 0

    def step_row(self, step: int, branch: int = 0) -> StepRow | None:
        """The row of `step`; None for step 0 and a step that has not ended."""
        rows = self.step_rows(step, step, branch)
        return rows[0] if rows else None

    def step_rows(self, first: int, last: int, branch: int = 0) -> list[StepRow]:
        """The rows of steps `first` to `last`, both included."""
        rows = self._rows(
            "SELECT * FROM steps WHERE branch = ? AND step BETWEEN ? AND ? ORDER BY step", branch, first, last
        )
        return [StepRow(*row) for row in rows]

    def step_counts(self, first: int, last: int, branch: int = 0) -> list[StepCounts]:
        """A few counts of steps `first` to `last`, both included: quick for many steps at once."""
        rows = self._rows(
            "SELECT step, waiting + preempted, running, tokens, owned_blocks FROM steps"
            " WHERE branch = ? AND step BETWEEN ? AND ? ORDER BY step",
            branch, first, last,
        )  # fmt: skip
        return list(map(StepCounts._make, rows))

    def step_work(self, first: int, last: int, branch: int = 0) -> list[StepWork]:
        """What steps `first` to `last`, both included, did: quick for many steps at once."""
        rows = self._rows(
            "SELECT step, notable, prefill_tokens, decode_tokens FROM steps"
            " WHERE branch = ? AND step BETWEEN ? AND ? ORDER BY step",
            branch, first, last,
        )  # fmt: skip
        return list(map(StepWork._make, rows))

    def notable_steps(self, first: int, last: int, branch: int = 0) -> list[tuple[int, Notable]]:
        """The notable steps from `first` to `last`, both included, and what makes them so."""
        rows = self._rows(
            "SELECT step, notable FROM steps WHERE branch = ? AND step BETWEEN ? AND ? AND notable ORDER BY step",
            branch, first, last,
        )  # fmt: skip
        return [(step, Notable(notable)) for step, notable in rows]

    def next_notable(self, step: int, branch: int = 0) -> int | None:
        """The first notable step after `step`."""
        found: int | None = self._value(
            "SELECT min(step) FROM steps WHERE branch = ? AND step > ? AND notable", branch, step
        )
        return found

    def previous_notable(self, step: int, branch: int = 0) -> int | None:
        """The last notable step before `step`."""
        found: int | None = self._value(
            "SELECT max(step) FROM steps WHERE branch = ? AND step < ? AND notable", branch, step
        )
        return found
