"""Questions about KV blocks: what happened to each, and when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sessions.lineage import Segment
from sessions.records import BlockChange
from sessions.tables import FOREVER, Tables

CHANGES_OF_STEP: Final = """
    SELECT * FROM blocks INDEXED BY blocks_of_step WHERE branch = ? AND step = ? ORDER BY seq
"""
"""The index is named: left to itself SQLite reads all of the branch, whose primary key it takes for as good."""


class BlockQueries(Tables):
    """The `blocks` table."""

    def block_history(self, block: int, branch: int = 0) -> list[BlockChange]:
        """Everything that ever happened to a block on the way to `branch`, oldest first."""
        return [
            change
            for part in self.lineage(branch).segments
            for change in self._changes("block = ? AND step BETWEEN ? AND ? ORDER BY seq", part, block)
        ]

    def latest_changes(self, block: int, step: int, most: int, branch: int = 0) -> list[BlockChange]:
        """What happened to a block up to and including `step`, newest first, at most `most` changes."""
        found: list[BlockChange] = []
        where = "block = ? AND step BETWEEN ? AND ? ORDER BY seq DESC LIMIT ?"
        for part in self._backwards(step, branch):
            found += self._changes(where, part, block, most - len(found))
        return found

    def given_out(self, block: int, step: int, branch: int = 0) -> BlockChange | None:
        """How a block last came to an owner of its own, up to and including `step`: allocated, or copied into."""
        where = (
            "block = ? AND step BETWEEN ? AND ? AND change IN ('allocated', 'copied') ORDER BY seq DESC LIMIT 1"
        )
        found = (self._changes(where, part, block) for part in self._backwards(step, branch))
        return next((changes[0] for changes in found if changes), None)

    def last_change(self, block: int, step: int | None = None, branch: int = 0) -> BlockChange | None:
        """The latest change of a block up to and including `step`."""
        found = self.latest_changes(block, FOREVER if step is None else step, 1, branch)
        return found[0] if found else None

    def block_changes(self, step: int, branch: int = 0) -> list[BlockChange]:
        """Every change of a block in `step`, in order."""
        return [
            change
            for part in self.lineage(branch).between(step, step)
            for change in self._records(BlockChange, CHANGES_OF_STEP, part.branch, step)
        ]

    def _backwards(self, step: int, branch: int) -> Iterator[Segment]:
        return reversed(list(self.lineage(branch).between(0, step)))

    def _changes(self, where: str, part: Segment, block: int, *values: int) -> list[BlockChange]:
        question = f"SELECT * FROM blocks WHERE branch = ? AND {where}"
        return self._records(BlockChange, question, part.branch, block, part.first_step, part.last_step, *values)
