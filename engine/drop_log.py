"""Which rows of every request went without which blocks: folded from events, and kept when requests are over."""

from __future__ import annotations

from typing import Final

from engine import events as ev
from engine.kv.holes import NO_DROPS, Drops, inherited

_Life = tuple[int, dict[int, int]]
"""The tokens a request had when it was admitted, and what was dropped from it until it lost its blocks."""

KINDS: Final = (ev.Inherited, ev.Admitted, ev.Shared, ev.Dropped)
"""The events it is folded from."""


class DropLog:
    """A request that is preempted and resumed computes its rows anew, and a policy may drop other blocks then."""

    def __init__(self) -> None:
        self._lives: dict[str, list[_Life]] = {}
        self._begun: dict[str, dict[int, int]] = {}  # what forks that are being admitted inherit

    def apply(self, event: ev.Event) -> None:
        if isinstance(event, ev.Admitted):
            life = event.tokens, self._begun.pop(event.request, {})
            self._lives.setdefault(event.request, []).append(life)
        elif isinstance(event, ev.Inherited):
            self._begun[event.request] = inherited(self._latest(event.source), len(event.blocks), event.tokens)
        elif isinstance(event, ev.Shared):
            self._lives[event.request] = [(0, dict(self._latest(event.source)))]
        elif isinstance(event, ev.Dropped):
            self._lives[event.request][-1][1].update(dict.fromkeys(event.indexes, event.position))

    def at(self, request: str, position: int) -> Drops:
        """What the rows of `request` up to `position` went without when that row chose, or led to, its token."""
        lives = self._lives.get(request, [])
        of_row = [drops for start, drops in lives[1:] if start <= position + 1]
        return of_row[-1] if of_row else lives[0][1] if lives else NO_DROPS

    def lives(self, request: str, stop: int) -> list[tuple[range, Drops]]:
        """The rows of `request` before `stop`, by what was dropped when they chose, or led to, their tokens."""
        lives = self._lives.get(request, [(0, {})])
        starts = [0, *(max(0, start - 1) for start, _ in lives[1:]), stop]
        return [(range(starts[i], starts[i + 1]), drops) for i, (_, drops) in enumerate(lives)]

    def _latest(self, request: str) -> Drops:
        lives = self._lives.get(request)
        return lives[-1][1] if lives else NO_DROPS
