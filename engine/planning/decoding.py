"""Running requests decode, and give way to each other where blocks are short."""

from __future__ import annotations

from engine import events as ev
from engine.overlay import Room, Short
from engine.planning.making import Making
from engine.planning.sizes import blocks_for
from engine.reasons import NeededBlocks
from engine.request import Request


class Decoding(Making):
    """The part of a plan that gives each decoding request the block it writes to."""

    def _decode(self, request: Request) -> None:
        if self._left == 0:
            self._wait(request, self._budget_spent(1))
            return
        while self._needs_block(request):
            found = self._overlay.find(1)
            if isinstance(found, Room):
                self._give_block(request, found)
                break
            if self._make_room(request, found, 1) is request:
                return
        self._schedule(request, "decode", request.computed, 1)

    def _needs_block(self, request: Request) -> bool:
        index = request.computed // self._state.blocks.block_size
        return index == len(request.table) or self._overlay.ref_count(request.table[index]) > 1

    def _make_room(self, needy: Request, short: Short, need: int) -> Request:
        """Take its blocks from the last-come request, which may be `needy` itself; who that was.

        Even alone a request may have to give way: blocks that it computed twice pin the cached ones that it
        could use instead, and does when it comes back.
        """
        victim = max(self._running.values(), key=lambda other: other.rank)
        if not self._end_if_too_large(victim):
            for each in self._gang(victim):
                self._preempt(each, needy, short, need)
                self._drop(each)
        return victim

    def _gang(self, request: Request) -> list[Request]:
        """Who gives way with `request`."""
        return [request]

    def _end_if_too_large(self, victim: Request) -> bool:
        """End a request that could not come back, because the whole pool is too small for it."""
        too_large = blocks_for(victim.num_tokens, self._state.blocks.block_size) > self._state.blocks.num_blocks
        if too_large:
            self._finish_full(victim)
            self._drop(victim)
        return too_large

    def _finish_full(self, request: Request) -> None:
        """The request has filled the whole pool, or would, computed anew: it could not go on even alone."""
        filled = request.id in self._running and not request.dropped
        self._emit(
            ev.Finished,
            request=request.id,
            reason="length",
            detail="kv_full" if filled else "not_resumable",
            output_tokens=request.output_tokens,
            need=blocks_for(request.num_tokens, self._state.blocks.block_size),
            limit=self._state.blocks.num_blocks,
        )

    def _preempt(self, victim: Request, needy: Request, short: Short, need: int) -> None:
        others = tuple(other for other in self._running if other not in (victim.id, needy.id))
        reason = NeededBlocks(needy.id, need, short.free, short.evictable, others)
        self._emit(
            ev.Preempted,
            request=victim.id,
            reason=reason,
            released_blocks=len(victim.held_blocks),
            recompute_tokens=victim.computed,
        )
        self._victim = victim.id

    def _drop(self, request: Request) -> None:
        self._overlay.release(request.table)
        del self._running[request.id]
        scheduled = [work for work in self._batch if work.request == request.id]
        assert not scheduled, "requests are served in rank order, so a victim has not been scheduled yet"

    def _give_block(self, request: Request, room: Room) -> None:
        size = self._state.blocks.block_size
        index, used = divmod(request.computed, size)
        self._evict(room.victims, request.id)
        self._overlay.take(room, request.id)
        if index == len(request.table):
            self._emit(ev.Allocated, request=request.id, index=index, blocks=room.blocks)
            return
        source = request.table[index]
        self._overlay.release((source,))
        self._emit(ev.Copied, request=request.id, index=index, source=source, block=room.blocks[0], tokens=used)
