"""Drafts of one request as they are verified, and how well its latest ones did. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from engine.events.drafts import Drafted, Spread

MOST_RECENT = 8
"""Verifications that a request remembers, for draft lengths that adapt."""


class Draft(msgspec.Struct, frozen=True, array_like=True):
    """The drafts of one request that the step under way verifies; fields are those of `events.Drafted`."""

    tokens: tuple[int, ...]
    q: tuple[float, ...]
    spreads: tuple[Spread, ...] = ()
    parents: tuple[int, ...] = ()

    @staticmethod
    def of(event: Drafted) -> Draft:
        """What is used of the drafts of an event."""
        used = event.used
        return Draft(event.drafts[:used], event.q[:used], event.spreads[:used], event.parents[:used])

    @staticmethod
    def sure(tokens: Sequence[int], parents: Sequence[int] = ()) -> Draft:
        """Drafts that were not drawn; with `parents` they are a tree."""
        return Draft(tuple(tokens), (1.0,) * len(tokens), (), tuple(parents))

    @staticmethod
    def drawn(tokens: Sequence[int], spreads: Sequence[Spread]) -> Draft:
        """Drafts that follow one another, each drawn from its spread. ValueError where one is not in it."""
        q = [spread.probs[spread.ids.index(token)] for token, spread in zip(tokens, spreads, strict=True)]
        return Draft(tuple(tokens), tuple(q), tuple(spreads))

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def main(self) -> tuple[int, ...]:
        """The drafts of the first branch: those of a chain are all."""
        return self.branches()[0] if self.parents else tuple(range(len(self.tokens)))

    def branches(self) -> list[tuple[int, ...]]:
        """The tree in branches, each a line of first children, that with the first draft first."""
        heads = [at for at in range(len(self.tokens)) if self.children(self.parent(at))[0] != at]
        return [self._line(at) for at in (0, *heads)] if self.tokens else []

    def _line(self, head: int) -> tuple[int, ...]:
        line = [head]
        while children := self.children(line[-1]):
            line.append(children[0])
        return tuple(line)

    def path(self, index: int) -> tuple[int, ...]:
        """The drafts from the first one down to this one."""
        path = [index]
        while (before := self.parent(path[-1])) >= 0:
            path.append(before)
        return tuple(reversed(path))

    def depth(self, used: int) -> int:
        """The most of the first `used` drafts that follow one another."""
        return max((len(self.path(at)) for at in range(used)), default=0) if self.parents else used

    def parent(self, index: int) -> int:
        """The draft that this one follows; -1 is the request's newest token."""
        return self.parents[index] if self.parents else index - 1

    def children(self, index: int) -> tuple[int, ...]:
        """The drafts that follow this one (-1: the newest token), in the order they are tried."""
        if not self.parents:
            return (index + 1,) if index + 1 < len(self.tokens) else ()
        return tuple(at for at, parent in enumerate(self.parents) if parent == index)


NO_DRAFT = Draft((), ())

Recent = tuple[tuple[int, int], ...]
"""Drafted and accepted tokens of the latest verifications, oldest first."""


def remember(recent: Recent, drafted: int, accepted: int) -> Recent:
    """`recent` with one verification more."""
    return (*recent[-MOST_RECENT + 1 :], (drafted, accepted))


class DraftedBy(NamedTuple):
    """The drafts of one request, and the plugin that made them."""

    method: str
    draft: Draft


Drafts = Mapping[str, DraftedBy]
"""What was drafted for the next step, by request."""

NO_DRAFTS: Drafts = {}
