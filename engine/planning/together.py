"""Beams of a search in a plan: they decode together in one step, or none does, and give way together.

What becomes of each beam depends on the rows of all. A beam that comes back after a preemption is prefilled up to
its newest token, which waits for the others; they come back one after the other, so that each finds in the tree
what the one before it has computed, and the search takes no more blocks than when it left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from engine import events as ev
from engine.beams import normalised
from engine.overlay import Room, Short
from engine.planning.decoding import Decoding
from engine.reasons import AwaitsBeams, AwaitsPrefill, NoFreeBlocks
from engine.request import Request, RequestState


class Together(Decoding):
    """The part of a plan that concerns beams."""

    def _decode_beams(self, search: str) -> None:
        """Decode all beams of a search, if all are ready and the step has room for them."""
        beams = self._state.beams_of(search)
        ready = [beam for beam in beams if self._is_ready(beam)]
        missing = next((beam for beam in beams if not self._is_ready(beam)), None)
        if missing is not None:
            for beam in ready:
                self._wait(beam, AwaitsBeams(missing.id))
            return
        if self._left < len(beams):
            for beam in beams:
                self._wait(beam, self._budget_spent(len(beams)))
            return
        if self._have_room(beams):
            for beam in beams:
                self._schedule(beam, "decode", beam.computed, 1)

    def _is_ready(self, beam: Request) -> bool:
        return beam.id in self._running and beam.state is RequestState.RUNNING

    def _have_room(self, beams: Sequence[Request]) -> bool:
        """Give each beam the block it writes to next; False when the search itself had to give way."""
        while need := self._count_needed(beams):
            found = self._overlay.find(need)
            if isinstance(found, Room):
                break
            if self._make_room(beams[-1], found, need) in beams:
                return False
        for beam in beams:
            if self._needs_block(beam):
                room = self._overlay.find(1)
                assert isinstance(room, Room)
                self._give_block(beam, room)
        return True

    def _count_needed(self, beams: Sequence[Request]) -> int:
        """Blocks that they must have to write to: of those that share a block, the last one may keep it."""
        given_up: Counter[int] = Counter()
        need = 0
        for beam in beams:
            index = beam.computed // self._state.blocks.block_size
            if index == len(beam.table):
                need += 1
            elif self._overlay.ref_count(beam.table[index]) - given_up[beam.table[index]] > 1:
                given_up[beam.table[index]] += 1
                need += 1
        return need

    def _gang(self, request: Request) -> list[Request]:
        """Who gives way with `request`: the running beams of its search, or it alone."""
        if request.search is None:
            return [request]
        return [other for other in self._running.values() if other.search == request.search]

    def _end_if_too_large(self, victim: Request) -> bool:
        """A search is, when what its beams cannot share is."""
        if victim.search is not None and self._least_blocks(victim.search) > self._state.blocks.num_blocks:
            self._finish_search(victim.search)
            return True
        return super()._end_if_too_large(victim)

    def _least_blocks(self, search: str) -> int:
        """Blocks that the beams of a search take when they share all they can."""
        size, beams = self._state.blocks.block_size, self._state.beams_of(search)
        shared = {prefix for beam in beams for prefix in self._prefixes(beam)}
        return len(shared) + sum(beam.num_tokens % size > 0 for beam in beams)

    def _finish_search(self, search: str) -> None:
        """The search has filled the whole pool: what its beams have come to is what it has found."""
        beams, found = self._state.beams_of(search), list(self._state.searches[search].hypotheses)
        found += [
            ev.Hypothesis(beam.id, normalised(beam.score, beam.output_tokens, beam.params.length_penalty))
            for beam in beams if beam.output_tokens
        ]  # fmt: skip
        best = sorted(found, key=lambda each: -each.score)[: beams[0].params.beams]
        need, limit = self._least_blocks(search), self._state.blocks.num_blocks
        self._emit(ev.BeamsEnded, request=search, why="kv_full", best=tuple(best))
        for beam in beams:
            self._emit(
                ev.Finished, request=beam.id, reason="length", detail="kv_full",
                output_tokens=beam.output_tokens, need=need, limit=limit,
            )  # fmt: skip
            self._over.add(beam.id)
            if beam.id in self._running:
                self._drop(beam)

    def _comes_back_after(self, request: Request) -> AwaitsPrefill | None:
        """A beam that is coming back, and that `request` must wait for."""
        if request.search is None:
            return None
        others = (other for other in self._gang(request) if other.state is not RequestState.RUNNING)
        first = next(others, None)
        return None if first is None else AwaitsPrefill(first.id)

    def _seats(self, request: Request) -> int:
        """How many requests run when this one does, and what comes with it."""
        if request.search is None or not request.output_tokens:
            return self._samples(request)
        return len(self._state.beams_of(request.search))

    def _break_up(self, request: Request, short: NoFreeBlocks) -> None:
        """Nothing runs in this step: `request` finds no blocks, and who holds them waits for beams without any.

        The search that came last gives way. One that is alone, and too large for its beams to come back, ends.
        """
        if request.search is not None and len(self._gang(request)) == len(self._running):
            self._finish_search(request.search)
        else:
            self._make_room(request, Short(short.free, short.evictable), short.need)

    def _samples(self, request: Request) -> int:
        """How many requests will run on this one's prefill: itself and the samples that wait for it."""
        if request.search == request.id and not request.output_tokens:
            return request.params.beams
        return 1 + len(self._state.heirs(request))

    def _prefixes(self, request: Request) -> Sequence[int]:
        return self._scheduler.hashes_of(request, self._state.blocks.block_size)
