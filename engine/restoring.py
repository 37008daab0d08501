"""What it takes to have the KV of an earlier step back: the lost positions, and the jobs that compute them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from engine import events as ev
from engine.execution import Job, Slice
from engine.ids import request_of
from engine.kv.holes import Drops
from engine.kv.radix import ROOT, Node
from engine.kv.writes import WriteClock
from engine.timeline import Past


@dataclass(frozen=True, slots=True)
class _Chain:
    """A sequence whose KV should be in `table`: the first `computed` positions of `request`."""

    request: str
    table: Sequence[int]
    computed: int
    dropped: Drops = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Restoring:
    """`past` is how things should stand; its KV was whole at tick `since` of `writes`."""

    past: Past
    writes: WriteClock
    since: int

    @property
    def intact(self) -> bool:
        """Whether nothing that the state stands on was written to since."""
        return not any(self._lost(chain).any() for chain in self._chains())

    @property
    def possible(self) -> bool:
        """Whether lost positions can be computed from what is there: none of them reads a dropped block."""
        return not any(self._read_dropped(chain) for chain in self._chains())

    def _read_dropped(self, chain: _Chain) -> bool:
        """Whether a lost row of the chain read a block that was dropped after it."""
        lost = np.flatnonzero(self._lost(chain)) if chain.dropped else np.empty(0)
        size = self.past.state.blocks.block_size
        return any(((lost >= index * size) & (lost < first)).any() for index, first in chain.dropped.items())

    def jobs(self, most_tokens: int) -> list[Job]:
        """Jobs of at most `most_tokens` tokens that compute every lost position once.

        A position is computed after, or together with, those before it that it attends to: a pass writes a
        layer's keys and values before any of its rows reads them.
        """
        jobs: list[list[Slice]] = [[]]
        room = most_tokens
        for part in self._slices():
            while part.work.tokens > room:
                if room:
                    jobs[-1].append(_part(part, 0, room))
                    part = _part(part, room, part.work.tokens)
                jobs.append([])
                room = most_tokens
            jobs[-1].append(part)
            room -= part.work.tokens
        return [Job((), slices, ()) for slices in jobs if slices]

    def _slices(self) -> Iterator[Slice]:
        """One for each run of lost positions."""
        restored: set[int] = set()
        for chain in self._chains():
            lost = self._lost(chain)
            slots = self._slots(chain)
            wanted = [position for position in np.flatnonzero(lost).tolist() if slots[position] not in restored]
            restored.update(slots[wanted].tolist())
            yield from (self._slice(chain, start, stop) for start, stop in _runs(wanted))

    def _slice(self, chain: _Chain, start: int, stop: int) -> Slice:
        tokens = self.past.tokens
        work = ev.Work(chain.request, "prefill", start, stop - start)
        return Slice(
            work, tokens.tokens_of(chain.request)[start:stop], chain.table,
            tokens.prompt_tokens_of(chain.request), tokens.intervened_of(chain.request),
            tokens.asked(chain.request).params.adapter, chain.dropped,
        )  # fmt: skip

    def _chains(self) -> Iterator[_Chain]:
        """The tree from the root down to each leaf, then the tables: shared blocks before those that follow."""
        tree = self.past.state.tree
        for node in tree.nodes.values():
            if not node.children and node.id != ROOT:
                yield self._path(node)
        for request in self.past.state.requests.values():
            if request.computed:
                yield _Chain(request.id, request.table, request.computed, request.dropped)

    def _path(self, leaf: Node) -> _Chain:
        state = self.past.state
        nodes = reversed(list(state.tree.path(leaf.id)))
        table = [block for node in nodes for block in node.blocks]
        writer = request_of(state.blocks.writer[table[-1]])
        return _Chain(writer, table, len(table) * state.blocks.block_size)

    def _lost(self, chain: _Chain) -> npt.NDArray[np.bool_]:
        """Which positions of the chain are no longer in their slots; those that were dropped need none."""
        lost = ~self.writes.intact(self._slots(chain), self.since)
        size = self.past.state.blocks.block_size
        for index in chain.dropped:
            lost[index * size : (index + 1) * size] = False
        return lost

    def _slots(self, chain: _Chain) -> npt.NDArray[np.int64]:
        size = self.past.state.blocks.block_size
        slots = np.array(chain.table, np.int64)[:, None] * size + np.arange(size)
        return slots.reshape(-1)[: chain.computed]


def _part(whole: Slice, start: int, stop: int) -> Slice:
    """Tokens `start` to `stop` of a slice."""
    work = ev.Work(whole.work.request, "prefill", whole.work.start + start, stop - start)
    return replace(whole, work=work, token_ids=whole.token_ids[start:stop])


def _runs(positions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Start and stop of every run of successive numbers."""
    start = 0
    for index in range(1, len(positions) + 1 if positions else 0):
        if index == len(positions) or positions[index] != positions[index - 1] + 1:
            yield positions[start], positions[index - 1] + 1
            start = index
