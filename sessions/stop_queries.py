"""Questions that find steps: where something may have happened, the latest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from engine import events as ev
from sessions.event_log import event_row
from sessions.seek import last_seq
from sessions.tables import Tables

_PAGE: Final = 500


class StopQueries(Tables):
    """Steps at which a condition over one table holds. Conditions are SQL over its columns, made by us."""

    def events_in(self, first: int, last: int, branch: int = 0) -> list[ev.AnyEvent]:
        """The events of steps `first` to `last` on the way to `branch`, and those said after each of them."""
        found: list[ev.AnyEvent] = []
        for part in self.lineage(branch).between(first, last):
            rows = self._rows(
                "SELECT seq, data FROM events WHERE seq BETWEEN ? AND ? AND branch = ? ORDER BY seq",
                last_seq(self._connection, part.branch, part.first_step - 1) + 1,
                last_seq(self._connection, part.branch, part.last_step), part.branch,
            )  # fmt: skip
            found += (event_row(seq, line).event for seq, line in rows)
        return found

    def token_steps(self, where: str, values: Sequence[object], upto: int, branch: int = 0) -> Iterator[int]:
        """Steps up to `upto` that chose a token for which `where` is true."""
        question = f"SELECT DISTINCT chosen_step AS at FROM tokens WHERE branch = ? AND ({where})"
        return self._backwards_in(question, (), upto, branch, values)

    def token_changes(
        self, value: str, values: Sequence[object], upto: int, branch: int = 0, request: str | None = None
    ) -> Iterator[int]:
        """Steps up to `upto` that chose a token with another `value` than the token before it of its request."""
        whose = "" if request is None else " AND request = ?"
        question = (
            "SELECT DISTINCT at FROM (SELECT chosen_step AS at, now, lag(now) OVER"
            " (PARTITION BY request ORDER BY position) AS before"
            f" FROM (SELECT *, ({value}) AS now FROM tokens WHERE branch = ?{whose})) WHERE now IS NOT before"
        )
        return self._backwards_in(question, values, upto, branch, () if request is None else (request,))

    def notable_before(self, mask: int, upto: int, branch: int = 0) -> Iterator[int]:
        """Steps up to `upto` that are notable for a reason in `mask`."""
        question = "SELECT step AS at FROM steps WHERE branch = ? AND notable AND (notable & ?)"
        return self._backwards_in(question, (), upto, branch, (mask,))

    def block_steps(self, block: int, upto: int, branch: int = 0) -> Iterator[int]:
        """Steps up to `upto` that moved a block."""
        question = "SELECT DISTINCT step AS at FROM blocks WHERE branch = ? AND block = ?"
        return self._backwards_in(question, (), upto, branch, (block,))

    def _backwards_in(
        self, question: str, before: Sequence[object], upto: int, branch: int, after: Sequence[object] = ()
    ) -> Iterator[int]:
        """Answers to a question whose values stand before and after its branch, a page at a time."""
        for part in self.lineage(branch).backwards():
            last = min(upto, part.last_step)
            while last >= part.first_step:
                rows = self._rows(
                    f"SELECT at FROM ({question}) WHERE at BETWEEN ? AND ? ORDER BY at DESC LIMIT {_PAGE}",
                    *before, part.branch, *after, part.first_step, last,
                )  # fmt: skip
                yield from (at for (at,) in rows)
                last = rows[-1][0] - 1 if len(rows) == _PAGE else -1
