"""Branches: the lines of history of a session, the records that read them, and where they part."""

from __future__ import annotations

from collections.abc import Sequence

from sessions.records import Branch
from workbench.record import Record


class Branches:
    """What `record` is one branch of. Only the one that was opened last goes on."""

    def __init__(self, record: Record) -> None:
        self._session = record.session
        self._records = {record.branch: record}
        self.rows: Sequence[Branch] = ()
        self.refresh()

    def refresh(self) -> None:
        """Take in branches that were opened since."""
        self.rows = self._session.branches

    @property
    def newest(self) -> int:
        return max(row.branch for row in self.rows)

    @property
    def several(self) -> bool:
        return len(self.rows) > 1

    def has(self, branch: int) -> bool:
        return any(row.branch == branch for row in self.rows)

    def record(self, branch: int) -> Record:
        """The record of `branch`, with everything that was written until now."""
        if branch not in self._records:
            self._records[branch] = Record(self._session, branch)
        record = self._records[branch]
        record.catch_up()
        return record

    def last_step(self, branch: int) -> int:
        return self._session.last_step(branch)

    def holds(self, branch: int, other: int, step: int) -> bool:
        """Whether `step` of branch `other` is in the history of `branch`."""
        segments = self._session.lineage(branch).segments if self.has(branch) else ()
        return any(each.branch == other and each.first_step <= step <= each.last_step for each in segments)

    def partings(self, branch: int) -> dict[int, list[int]]:
        """Steps in the history of `branch` after which branches began, and which those are."""
        segments = self._session.lineage(branch).segments
        found: dict[int, list[int]] = {}
        for row in self.rows:
            if row.parent is None or row.parent_step is None:
                continue
            if any(each.branch == row.parent and row.parent_step <= each.last_step for each in segments):
                found.setdefault(row.parent_step, []).append(row.branch)
        return found


__all__ = ["Branches"]
