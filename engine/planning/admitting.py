"""Requests that wait are admitted until the first that does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine import events as ev
from engine.kv.holes import held
from engine.kv.prefix import Match
from engine.overlay import Room, Short
from engine.planning.sizes import blocks_for, copies_for, inheritable
from engine.planning.verifying import Verifying
from engine.reasons import (
    AfterPreemption,
    BehindOlder,
    EvictedEarlier,
    MatchEnd,
    MaxRunning,
    NoFreeBlocks,
    WaitReason,
)
from engine.request import Request


@dataclass(frozen=True, slots=True)
class _HeadStart:
    """`blocks` whose first `tokens` tokens are not computed again.

    `source` is the request whose table they come from, or, where they come from the tree, why there are no more.
    `loads` are the hashes of blocks that follow them and are read back from host files.
    """

    blocks: Sequence[int]
    tokens: int
    source: str | MatchEnd
    loads: Sequence[int] = ()

    def computed(self, block_size: int) -> int:
        """Tokens that are not computed again."""
        return self.tokens + len(self.loads) * block_size


class Admitting(Verifying):
    """The part of a plan that computes prompts, chunk by chunk, and admits who waits."""

    def _continue(self, request: Request) -> None:
        pending = request.pending - request.held_back
        tokens = self._chunk(pending)
        if tokens:
            self._schedule(request, "prefill", request.computed, tokens)
        else:
            self._wait(request, self._budget_spent(1 if self._options.chunked_prefill else pending))

    def _chunk(self, pending: int) -> int:
        """How many of `pending` tokens fit now; a whole prefill larger than the budget runs when alone."""
        if self._options.chunked_prefill or pending <= self._left:
            return min(pending, self._left)
        return 0 if self._batch else pending

    def _admit(self) -> None:
        for request in self._scheduler.admission_order(self._state):
            if request.id in self._over:
                continue
            reason = self._try_admit(request)
            if isinstance(reason, NoFreeBlocks) and self._running and self._stands_still():
                self._break_up(request, reason)
            if reason is not None and request.id not in self._over:
                self._wait(request, reason)
                break
        self._settle_queue()

    def _try_admit(self, request: Request) -> WaitReason | None:
        """Admit `request` and schedule its first chunk, or say why not."""
        samples = self._samples(request)
        if self._victim is not None:
            return AfterPreemption(self._victim)
        if (reason := self._no_seats(request)) is not None:
            return reason
        if self._left == 0:
            return self._budget_spent(1)
        if (awaited := self._comes_back_after(request)) is not None:
            return awaited
        size = self._state.blocks.block_size
        start = self._head_start(request)
        computed = start.computed(size)
        pending = request.num_tokens - request.held_back - computed
        tokens = self._chunk(pending)
        if tokens == 0 < pending:
            return self._budget_spent(pending)
        own = blocks_for(request.num_tokens, size) - start.tokens // size
        if own + len(held(start.blocks[: start.tokens // size])) > self._state.blocks.num_blocks:
            self._considered.add(request.id)
            self._finish_full(request)
            return None
        need = own + copies_for(request.num_tokens, samples, size)
        room = self._overlay.find(need, start.blocks)
        if isinstance(room, Short):
            return NoFreeBlocks(need, room.free, room.evictable)
        self._enter(request, start, own)
        if tokens:
            self._schedule(request, "prefill", computed, tokens)
        else:
            self._considered.add(request.id)
            self._emit(ev.Started, request=request.id)
        return None

    def _stands_still(self) -> bool:
        """Whether nothing runs in this step, and nothing was admitted that will run in the next."""
        return not self._batch and not any(isinstance(event, ev.Admitted) for event in self._plan.events)

    def _no_seats(self, request: Request) -> MaxRunning | None:
        """Whether too many run: all beams of a search that runs have their seats, wherever they are."""
        taken = {each.search or each.id: self._seats(each) for each in self._running.values()}
        if request.search in taken:
            return None
        need, seats = self._seats(request), sum(taken.values())
        limit = self._options.max_running
        return MaxRunning(need, seats, limit) if seats + need > limit else None

    def _head_start(self, request: Request) -> _HeadStart:
        """What `request` need not compute: what its parent's table holds, or what is cached."""
        found = self._still_cached(self._scheduler.match(self._state, request))
        cached = len(found.blocks) * self._state.blocks.block_size
        parent = self._running.get(request.parent or "")
        inherited = 0 if parent is None else inheritable(request, parent, self._state.blocks.block_size)
        if parent is None or inherited <= cached:
            loads = self._scheduler.match_host(self._state, request, self._host, len(found.blocks))
            return _HeadStart(found.blocks, cached, found.end, loads)
        blocks = parent.table[: blocks_for(inherited, self._state.blocks.block_size)]
        return _HeadStart(blocks, inherited, parent.id)

    def _still_cached(self, found: Match) -> Match:
        """`found` without what this very plan has evicted since."""
        for index, block in enumerate(found.blocks):
            if block in self._overlay.evicted:
                position = index * self._state.blocks.block_size
                gone = EvictedEarlier(position, self._plan.step, self._overlay.evicted[block])
                return Match(found.blocks[:index], gone)
        return found

    def _enter(self, request: Request, start: _HeadStart, need: int) -> None:
        free = self._overlay.free
        self._overlay.hold(start.blocks)
        self._emit_start(request, start)
        room = self._overlay.find(need)
        assert isinstance(room, Room)
        self._evict(room.victims, request.id)
        self._overlay.take(room, request.id)
        self._emit_own(request, start, room.blocks)
        size = self._state.blocks.block_size
        if start.loads:
            self._emit(
                ev.Loaded, request=request.id, index=len(start.blocks), blocks=room.blocks[: len(start.loads)],
                hashes=tuple(start.loads), tokens=len(start.loads) * size,
            )  # fmt: skip
        self._emit(
            ev.Admitted,
            request=request.id,
            resumed=request.preemptions > 0 or (request.parent is None and request.output_tokens > 0),
            cached_tokens=start.computed(size),
            tokens=request.num_tokens,
            need_blocks=need,
            free_blocks=free,
        )
        self._running[request.id] = request
        self._scheduler.forget(request.id)

    def _emit_start(self, request: Request, start: _HeadStart) -> None:
        blocks, tokens = tuple(start.blocks), start.tokens
        if isinstance(start.source, str):
            self._emit(ev.Inherited, request=request.id, source=start.source, blocks=blocks, tokens=tokens)
            return
        self._emit(
            ev.PrefixMatched,
            request=request.id,
            blocks=blocks,
            tokens=tokens,
            looked_up=request.num_tokens,
            end=start.source,
        )

    def _emit_own(self, request: Request, start: _HeadStart, blocks: tuple[int, ...]) -> None:
        """The blocks it may write to: a copy of the shared one that it starts in the middle of, and new ones."""
        used = start.tokens % self._state.blocks.block_size
        if used:
            index, source = len(start.blocks) - 1, start.blocks[-1]
            self._overlay.release((source,))
            self._emit(ev.Copied, request=request.id, index=index, source=source, block=blocks[0], tokens=used)
            blocks = blocks[1:]
        if blocks:
            self._emit(ev.Allocated, request=request.id, index=len(start.blocks), blocks=blocks)

    def _settle_queue(self) -> None:
        """Requests whose standing reason is older than this plan are behind whoever was considered."""
        fronts = [self._state.requests[id_] for id_ in self._state.fronts]
        for request in sorted(fronts, key=lambda request: request.rank):
            if request.id not in self._considered and request.id not in self._over:
                self._wait(request, BehindOlder())
