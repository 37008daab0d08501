"""Families: the rows of a moment with every fork under its parent; only rows that are looked at are read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence

from workbench.known_requests import Rearranged, Rows


class Families(Rearranged):
    """Families with a live request first, by arrival; then the others, the latest to arrive first.

    arrival   0 1 2 3 4 5 6        live: 2 5      4 forks from 1, 6 from 5
    shown     2 5 6 3 1 4 0
    """

    def __init__(self, arrived: Rows, live: Sequence[int], parents: Mapping[int, int]) -> None:
        """`live` are arrivals; `parents` has, for the arrival of every fork there is, that of its parent."""
        super().__init__(arrived)
        self._children: dict[int, list[int]] = {}
        for fork in sorted(parents):
            self._children.setdefault(parents[fork], []).append(fork)
        roots = {_root(arrival, parents) for arrival in live}
        self._front = [arrival for root in sorted(roots) for arrival in self._family(root)]
        ended = sorted({_root(fork, parents) for fork in parents} - roots, reverse=True)
        self._families = [list(self._family(root)) for root in ended]
        self._left_out = sorted({*self._front, *parents})  # neither a family of its own nor the head of one
        self._starts = self._places()
        self._where = {arrival: at for at, arrival in enumerate(self._front)}
        for start, family in zip(self._starts, self._families, strict=True):
            self._where |= {arrival: len(self._front) + start + at for at, arrival in enumerate(family)}

    def _index(self, arrival: int) -> int:
        if arrival in self._where:
            return self._where[arrival]
        heads = self._heads_after(arrival)
        return len(self._front) + heads + self._forks_above(heads)

    def _places(self) -> list[int]:
        """Where each family of several begins, behind the front."""
        starts, forks = [], 0
        for family in self._families:
            starts.append(self._heads_after(family[0]) + forks)
            forks += len(family) - 1
        return starts

    def _forks_above(self, heads: int) -> int:
        """How many forks stand above the head number `heads`."""
        above = (family for family in self._families if self._heads_after(family[0]) < heads)
        return sum(len(family) - 1 for family in above)

    def _heads_after(self, arrival: int) -> int:
        """How many heads of families behind the front arrived later."""
        later = len(self) - 1 - arrival
        return later - (len(self._left_out) - bisect_right(self._left_out, arrival))

    def _arrival(self, index: int) -> int:
        if index < len(self._front):
            return self._front[index]
        place = index - len(self._front)
        at = bisect_right(self._starts, place) - 1
        if at >= 0 and place - self._starts[at] < len(self._families[at]):
            return self._families[at][place - self._starts[at]]
        return self._head(place - sum(len(family) - 1 for family in self._families[: at + 1]))

    def _head(self, number: int) -> int:
        """The arrival of a head behind the front, counted from the latest."""
        low, high = 0, len(self) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self._heads_after(middle - 1) > number:
                low = middle
            else:
                high = middle - 1
        return low

    def _family(self, root: int) -> Iterator[int]:
        """A request and its forks, theirs included, each under its parent."""
        waiting = [root]
        while waiting:
            arrival = waiting.pop()
            yield arrival
            waiting += reversed(self._children.get(arrival, ()))


def _root(arrival: int, parents: Mapping[int, int]) -> int:
    """The request a fork comes from, over any number of forks."""
    while arrival in parents:
        arrival = parents[arrival]
    return arrival


__all__ = ["Families"]
