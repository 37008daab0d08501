"""Blocks in files of the host: what a plan keeps there instead of losing it, and what it takes back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from engine.ids import request_of
from engine.state import State
from engine.tokens import TokenSource


class Kept(NamedTuple):
    """Blocks to be written, the hash of each, and hashes whose files make room for them."""

    blocks: tuple[int, ...]
    hashes: tuple[int, ...]
    forgotten: tuple[int, ...]


class HostPlan:
    """A plan's view of the files: those of the state, and what the plan has decided on top of it.

    At most `most` blocks are kept; the ones that were written or read longest ago go first.
    """

    def __init__(self, state: State, most: int) -> None:
        self._state = state
        self._most = most
        self._new: dict[int, None] = {}
        self._gone: set[int] = set()

    def keep(self, blocks: Sequence[int]) -> Kept:
        """Which of `blocks`, about to leave the tree, are written; those that are in a file already are not."""
        hash_of = self._state.blocks.hash
        fresh = [block for block in blocks if not self._has(hash_of[block])]
        fresh = fresh[: max(0, self._most - len(self._new))]
        self._new.update(dict.fromkeys(hash_of[block] for block in fresh))
        excess = len(self._state.offloaded) - len(self._gone) + len(self._new) - self._most
        forgotten = tuple(islice(self._oldest(), max(0, excess))) if fresh else ()
        self._gone.update(forgotten)
        return Kept(tuple(fresh), tuple(hash_of[block] for block in fresh), forgotten)

    def following(self, log: TokenSource, tokens: Sequence[int], hashes: Sequence[int], start: int) -> list[int]:
        """The hashes from block `start` on that can be read back: their files hold `tokens`, verified."""
        found: list[int] = []
        for index in range(start, len(hashes) if self._most else start):
            if not self._holds(log, hashes[index], tokens, index):
                break
            found.append(hashes[index])
        return found

    def _has(self, hash_: int) -> bool:
        return hash_ in self._new or (hash_ in self._state.offloaded and hash_ not in self._gone)

    def _oldest(self) -> Iterator[int]:
        return (hash_ for hash_ in self._state.offloaded if hash_ not in self._gone)

    def _holds(self, log: TokenSource, hash_: int, tokens: Sequence[int], index: int) -> bool:
        """Whether the file of `hash_` holds block `index` of `tokens`; one that this plan forgets still does."""
        kept = self._state.offloaded.get(hash_)
        if kept is None or kept.at != index:
            return False
        size = self._state.blocks.block_size
        theirs = log.tokens_of(request_of(kept.writer))[index * size : (index + 1) * size]
        return list(theirs) == list(tokens[index * size : (index + 1) * size])
