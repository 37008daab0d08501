"""Token ids that say nothing but where histories part.

    prompt 1   a ── b ── c          1 ── 1 ── 1
    prompt 2   a ── b ── d          1 ── 1 ── 2

Tokens are numbered among those that followed the same tokens before. So two histories have the same pseudonyms
exactly as far as they have the same tokens, which shared blocks tell anyway; and nobody can count how often a
token occurs, because it has another number everywhere.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final, NamedTuple

from sessions.vocabulary import LENGTHS

ROOT: Final = 0
_ONLY_CANDIDATES: Final = 1_000_000
"""Candidates that were not chosen are numbered from here, within their own list."""


def pseudonym(number: int, length: int) -> int:
    """The id that stands for token `number` among its siblings; its text has `length` characters."""
    return number * LENGTHS + min(length, LENGTHS - 1)


class Child(NamedTuple):
    """A token after a history: the history with it, and its number among those that followed."""

    node: int
    number: int


class Histories:
    """Every history of tokens that occurs, as the nodes of a tree."""

    def __init__(self) -> None:
        self._children: dict[tuple[int, int], Child] = {}
        self._count: dict[int, int] = {}
        self._next = ROOT + 1

    def after(self, node: int, token: int) -> Child:
        """`token` after the history `node`."""
        child = self._children.get((node, token))
        if child is None:
            self._count[node] = number = self._count.get(node, 0) + 1
            child = self._children[node, token] = Child(self._next, number)
            self._next += 1
        return child

    def candidate(self, node: int, token: int, place: int) -> int:
        """The number of a candidate after the history `node`, at `place` of its list."""
        child = self._children.get((node, token))
        return child.number if child is not None else _ONLY_CANDIDATES + place


class Path:
    """The tokens of one request: the history up to each, its number, and the step that said it."""

    def __init__(self, histories: Histories) -> None:
        self._histories = histories
        self._nodes: list[int] = [ROOT]
        self._numbers: list[int] = []
        self._steps: list[int] = []

    def extend(self, tokens: Iterable[int], step: int) -> None:
        for token in tokens:
            node, number = self._histories.after(self._nodes[-1], token)
            self._nodes.append(node)
            self._numbers.append(number)
            self._steps.append(step)

    def before(self, position: int) -> int:
        """The history of the tokens before `position`."""
        return self._nodes[position]

    def number(self, position: int) -> int:
        return self._numbers[position]

    def __len__(self) -> int:
        return len(self._numbers)

    def until(self, step: int) -> Path:
        """The same path as it was after `step`."""
        return self.first(bisect_right(self._steps, step))

    def first(self, tokens: int) -> Path:
        """A path of its own that begins with the first `tokens` of this one."""
        path = Path(self._histories)
        path._nodes = self._nodes[: tokens + 1]
        path._numbers = self._numbers[:tokens]
        path._steps = self._steps[:tokens]
        return path
