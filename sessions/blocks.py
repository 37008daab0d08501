"""Questions about KV blocks: what happened to each, and when."""

from __future__ import annotations

from sessions.records import BlockChange
from sessions.tables import FOREVER, Tables


class BlockQueries(Tables):
    """The `blocks` table."""

    def block_history(self, block: int, branch: int = 0) -> list[BlockChange]:
        """Everything that ever happened to a block, oldest first."""
        return self._records(
            BlockChange, "SELECT * FROM blocks WHERE branch = ? AND block = ? ORDER BY seq", branch, block
        )

    def latest_changes(self, block: int, step: int, most: int, branch: int = 0) -> list[BlockChange]:
        """What happened to a block up to and including `step`, newest first, at most `most` changes."""
        return self._records(
            BlockChange,
            "SELECT * FROM blocks WHERE branch = ? AND block = ? AND step <= ? ORDER BY seq DESC LIMIT ?",
            branch, block, step, most,
        )  # fmt: skip

    def given_out(self, block: int, step: int, branch: int = 0) -> BlockChange | None:
        """How a block last came to an owner of its own, up to and including `step`: allocated, or copied into."""
        found = self._records(
            BlockChange,
            "SELECT * FROM blocks WHERE branch = ? AND block = ? AND step <= ?"
            " AND change IN ('allocated', 'copied') ORDER BY seq DESC LIMIT 1",
            branch, block, step,
        )  # fmt: skip
        return found[0] if found else None

    def last_change(self, block: int, step: int | None = None, branch: int = 0) -> BlockChange | None:
        """The latest change of a block up to and including `step`."""
        found = self.latest_changes(block, FOREVER if step is None else step, 1, branch)
        return found[0] if found else None

    def block_changes(self, step: int, branch: int = 0) -> list[BlockChange]:
        """Every change of a block in `step`, in order."""
        return self._records(
            BlockChange, "SELECT * FROM blocks WHERE branch = ? AND step = ? ORDER BY seq", branch, step
        )
