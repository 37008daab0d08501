"""The hashes of the blocks that were evicted last, so that a missed match can say what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.ids import request_of


@dataclass(frozen=True, slots=True)
class Ghost:
    """A block that was evicted at `step` to make room for `for_request`."""

    step: int
    for_request: str


class PackedGhosts(NamedTuple):
    """Ghosts as columns, the oldest first."""

    hash: Sequence[int]
    step: Sequence[int]
    code: Sequence[int]

    def unpack(self) -> dict[int, Ghost]:
        """Blocks that were evicted together share their ghost."""
        found: dict[int, Ghost] = {}
        ghost, code_of_ghost = Ghost(0, ""), -1
        for hash_, step, code in zip(*self, strict=True):
            if step != ghost.step or code != code_of_ghost:
                ghost, code_of_ghost = Ghost(step, request_of(code)), code
            found[hash_] = ghost
        return found


_NOTHING = PackedGhosts((), (), ())


class Ghosts(Mapping[int, Ghost]):
    """Ghosts by hash, the oldest first, at most as many as there are blocks.

    Folding only adds to them: they are put in order when somebody looks.
    """

    def __init__(self, packed: PackedGhosts = _NOTHING, forgotten: int = 0) -> None:
        self._packed = packed
        self._known: dict[int, Ghost] | None = None if packed.hash else {}
        self._new: list[tuple[int, Ghost]] = []
        self._most = len(packed.hash)
        self._forgotten = forgotten

    def remember(self, hash_: int, ghost: Ghost, most: int) -> None:
        """Add a ghost, the newest now; of more than `most` the oldest is forgotten."""
        self._new.append((hash_, ghost))
        self._most = most

    @property
    def known(self) -> dict[int, Ghost]:
        """All of them; not to be changed."""
        if self._known is None:
            self._known = self._packed.unpack()
        for hash_, ghost in self._new:
            self._known.pop(hash_, None)
            self._known[hash_] = ghost
            if len(self._known) > self._most:
                del self._known[next(iter(self._known))]
                self._forgotten += 1
        self._new.clear()
        return self._known

    @property
    def forgotten(self) -> int:
        """How many had to make room, since the start."""
        return self._forgotten if self.known is not None else 0

    def copy(self) -> Ghosts:
        twin = Ghosts(self._packed, self._forgotten)
        twin._known = None if self._known is None else self._known.copy()
        twin._new, twin._most = self._new.copy(), self._most
        return twin

    def __getitem__(self, hash_: int) -> Ghost:
        return self.known[hash_]

    def __iter__(self) -> Iterator[int]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)
