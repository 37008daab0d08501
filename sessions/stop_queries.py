"""Questions that find steps: where something may have happened, the latest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sessions.tables import Tables

_PAGE: Final = 500


class StopQueries(Tables):
    """Steps at which a condition over one table holds. Conditions are SQL over its columns, made by us."""

    def token_steps(self, where: str, values: Sequence[object], upto: int, branch: int = 0) -> Iterator[int]:
        """Steps up to `upto` that chose a token for which `where` is true."""
        question = f"SELECT DISTINCT chosen_step AS at FROM tokens WHERE branch = ? AND ({where})"
        return self._backwards_in(question, values, upto, branch)

    def token_changes(self, value: str, values: Sequence[object], upto: int, branch: int = 0) -> Iterator[int]:
        """Steps up to `upto` that chose a token with another `value` than the token before it."""
        question = (
            "SELECT DISTINCT at FROM (SELECT chosen_step AS at, now, lag(now) OVER"
            " (PARTITION BY request ORDER BY position) AS before"
            f" FROM (SELECT *, ({value}) AS now FROM tokens WHERE branch = ?)) WHERE now IS NOT before"
        )
        return self._backwards_in(question, values, upto, branch, values_first=True)

    def notable_before(self, mask: int, upto: int, branch: int = 0) -> Iterator[int]:
        """Steps up to `upto` that are notable for a reason in `mask`."""
        question = "SELECT step AS at FROM steps WHERE branch = ? AND notable AND (notable & ?)"
        return self._backwards_in(question, (mask,), upto, branch)

    def block_steps(self, block: int, upto: int, branch: int = 0) -> Iterator[int]:
        """Steps up to `upto` that moved a block."""
        question = "SELECT DISTINCT step AS at FROM blocks WHERE branch = ? AND block = ?"
        return self._backwards_in(question, (block,), upto, branch)

    def _backwards_in(
        self, question: str, values: Sequence[object], upto: int, branch: int, *, values_first: bool = False
    ) -> Iterator[int]:
        for part in self.lineage(branch).backwards():
            last = min(upto, part.last_step)
            while last >= part.first_step:
                bound = (*values, part.branch) if values_first else (part.branch, *values)
                rows = self._rows(
                    f"SELECT at FROM ({question}) WHERE at BETWEEN ? AND ? ORDER BY at DESC LIMIT {_PAGE}",
                    *bound, part.first_step, last,
                )  # fmt: skip
                yield from (at for (at,) in rows)
                last = rows[-1][0] - 1 if len(rows) == _PAGE else -1
