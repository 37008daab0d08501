"""History: how a block changed hands, newest first, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sessions.records import BlockChange, BlockChangeName
from workbench.widgets.columns import Column
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Line, Span

COLUMNS = (
    Column("step", 5, "right"),
    Column("what happened", least=18),
    Column("ref", 3, "right", 1),
    Column("is then", 7, priority=2),
)
MOST_CHANGES = 500
_WORDS: Final[Mapping[BlockChangeName, Callable[[BlockChange], str]]] = {
    "allocated": lambda c: f"allocated to {c.request} [{c.block_index}]",
    "matched": lambda c: f"prefix hit of {c.request}",
    "copied": lambda c: f"copied for {c.request} [{c.block_index}]",
    "shared": lambda c: f"sample {c.request} joins",
    "cached": lambda _: "full: into the tree",
    "kept_private": lambda _: "full: a twin, private",
    "released": lambda c: f"{c.request} gave it up",
    "evicted": lambda c: f"evicted for {c.request}",
    "dropped": lambda c: f"dropped from {c.request} [{c.block_index}]",
    "uncached": lambda c: f"out of the tree, with {c.request}",
}
INKS: Final[Mapping[BlockChangeName, Ink]] = {
    "allocated": "kv-owned",
    "copied": "kv-owned",
    "matched": "kv-shared",
    "shared": "kv-shared",
    "cached": "kv-cached",
    "evicted": "evicted",
    "dropped": "evicted",
}
STATE_INKS: Final[Mapping[str, Ink]] = {"owned": "kv-owned", "cached": "kv-cached", "free": "kv-free"}


class BlockHistory:
    """Changes of one block as rows; those of `step` count as changed."""

    columns: Sequence[Column] = COLUMNS

    def __init__(self, changes: Sequence[BlockChange], step: int) -> None:
        self.changes = changes
        self._step = step

    def __len__(self) -> int:
        return len(self.changes)

    def row(self, index: int) -> Sequence[Line]:
        change = self.changes[index]
        return (
            Span(f"{change.step:,}", "dim"),
            Span(words(change), INKS.get(change.change, "text")),
            Span(str(change.ref_count), "dim"),
            Span(change.state, STATE_INKS.get(change.state, "text")),
        )

    def changed(self, index: int) -> bool:
        return self.changes[index].step == self._step


def words(change: BlockChange) -> str:
    """What happened to the block."""
    return _WORDS[change.change](change)


__all__ = ["MOST_CHANGES", "BlockHistory", "words"]
