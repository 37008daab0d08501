"""What runs next: `plan(state)` decides, says why, and changes nothing.

A plan is the list of events that make it true. Order of service is priority, then arrival:

    1. running requests decode one token each; short of blocks, the last-come request is preempted
       (beams of a search decode, and give way, together)
       and verify what was drafted for them, as far as that costs nobody anything
    2. prefills under way compute their next chunk
    3. preempted and waiting requests are admitted until the first that does not fit

all within one token budget. An admitted request gets the blocks for all its tokens at once, so a prefill
under way never needs more; a decoding request gets a block when it crosses into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, islice

from engine import events as ev
from engine.admission import MOST_COMPARED, Waits, policy_named
from engine.drafting import NO_DRAFTS, DraftedBy, Drafts
from engine.kv.holes import HOLE, held
from engine.kv.host import HostPlan
from engine.kv.prefix import Match, match, no_cache
from engine.kv.radix import chain_hashes
from engine.kv.seeds import seed_of
from engine.overlay import Overlay, Room, Short, Victim
from engine.params import EngineOptions
from engine.reasons import (
    AfterPreemption,
    BehindOlder,
    EvictedEarlier,
    MatchEnd,
    MaxRunning,
    NeededBlocks,
    NoFreeBlocks,
    StagesDiffer,
    TokenBudgetSpent,
    WaitReason,
)
from engine.state import Request, RequestState, State
from engine.together import Together
from engine.tokens import RequestSource


@dataclass(slots=True)
class Plan:
    """Events to apply before the forward pass, and the batch it will run."""

    step: int
    events: list[ev.Event] = field(default_factory=list)
    batch: tuple[ev.Work, ...] = ()


class Scheduler:
    """Plans steps under `options`. Holds nothing a plan depends on, only remembered prompt hashes."""

    def __init__(self, options: EngineOptions, log: RequestSource, shareable_prompt: int | None = None) -> None:
        self.options = options
        self._log = log
        self._shareable_prompt = shareable_prompt
        self.host_blocks = 0  # that may be kept in host files
        self._hashes: dict[str, tuple[int, list[int]]] = {}

    def over(self, log: RequestSource) -> Scheduler:
        """The same scheduler for a run whose tokens are in `log`."""
        made = type(self)(self.options, log, self._shareable_prompt)
        made.host_blocks = self.host_blocks
        return made

    def plan(self, state: State, drafts: Drafts = NO_DRAFTS) -> Plan:
        """The next step from `state`, with what was drafted for it; an empty batch when nothing can run."""
        return Planning(self, state, drafts).run()

    def hashes_of(self, request: Request, block_size: int) -> list[int]:
        """Chained hashes of the full blocks of the request's tokens, kept until it is forgotten."""
        known = self._hashes.get(request.id)
        if known is None or known[0] != request.num_tokens:
            tokens = self._log.tokens_of(request.id)
            known = request.num_tokens, chain_hashes(tokens, block_size, seed_of(request.params))
            self._hashes[request.id] = known
        return known[1]

    def forget(self, request: str) -> None:
        self._hashes.pop(request, None)

    def may_share(self, request: Request) -> bool:
        """Whether its full blocks may be other requests', and theirs its own."""
        limit = self._shareable_prompt
        return self.options.prefix_cache and (limit is None or request.prompt_tokens <= limit)

    def match(self, state: State, request: Request) -> Match:
        if not self.may_share(request):
            return no_cache()
        size = state.blocks.block_size
        tokens, hashes = self._log.tokens_of(request.id), self.hashes_of(request, size)
        found = match(state, self._log, tokens, hashes, request.params)
        pure = request.pure_blocks(size)
        if pure is None or len(found.blocks) <= pure:
            return found
        return Match(found.blocks[:pure], StagesDiffer(pure * size))

    def match_host(self, state: State, request: Request, host: HostPlan, start: int) -> list[int]:
        """The hashes of the blocks from index `start` on that can be read back from host files."""
        if not (self.may_share(request) and self.host_blocks):
            return []
        size = state.blocks.block_size
        most = [(request.num_tokens - 1) // size, request.pure_blocks(size)]
        hashes = self.hashes_of(request, size)[: min(each for each in most if each is not None)]
        return host.following(self._log, self._log.tokens_of(request.id), hashes, start)

    def admission_order(self, state: State) -> Iterator[Request]:
        """Requests that wait to be admitted, first to be admitted first."""
        everyone = (state.requests[id_] for _, id_ in state.waiting)
        waiting = (request for request in everyone if request.leader is None)
        policy = policy_named(state.policy)
        seen = islice(waiting, min(policy.compares, MOST_COMPARED))
        compared = [self._waits(state, request) for request in seen]
        first = policy.order_waiting(compared) if compared else ()
        return chain((state.requests[each.request] for each in first), waiting)

    def _waits(self, state: State, request: Request) -> Waits:
        return Waits(
            request.id, request.priority, request.arrival, request.num_tokens, request.submitted_step,
            request.preemptions, lambda: self._cached_blocks(state, request),
        )  # fmt: skip

    def _cached_blocks(self, state: State, request: Request) -> int:
        """Length of the cached prefix, in blocks."""
        if not self.may_share(request):
            return 0
        size = state.blocks.block_size
        most = min(b for b in ((request.num_tokens - 1) // size, request.pure_blocks(size)) if b is not None)
        return len(state.tree.walk(self.hashes_of(request, size)[:most]).blocks)


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


class Planning(Together):
    """One plan in the making."""

    def __init__(self, scheduler: Scheduler, state: State, drafts: Drafts = NO_DRAFTS) -> None:
        self._scheduler = scheduler
        self._drafts = drafts
        self._options = scheduler.options
        self._state = state
        self._overlay = Overlay(state)
        self._host = HostPlan(state, scheduler.host_blocks)
        self._plan = Plan(state.step + 1)
        self._batch: list[ev.Work] = []
        self._left = scheduler.options.token_budget
        self._running = {request.id: request for request in sorted(state.running.values(), key=lambda r: r.rank)}
        self._victim: str | None = None
        self._considered: set[str] = set()
        self._over = set()

    def run(self) -> Plan:
        for request in list(self._running.values()):
            if request.state is not RequestState.RUNNING or request.id not in self._running:
                continue
            if request.search is None:
                self._decode(request)
            elif request.id not in self._considered:
                self._decode_beams(request.search)
        self._verify()
        for request in list(self._running.values()):
            if request.state is RequestState.PREFILLING and request.id in self._running:
                self._continue(request)
        self._admit()
        if self._batch:
            self._emit(ev.Scheduled, batch=tuple(self._batch), budget=self._options.token_budget)
        self._plan.batch = tuple(self._batch)
        return self._plan

    # -- decode --------------------------------------------------------------------------------------

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

        With a beam its whole search gives way.

        Even alone a request may have to give way: blocks that it computed twice pin the cached ones that it
        could use instead, and does when it comes back.
        """
        victim = max(self._running.values(), key=lambda other: other.rank)
        if victim.search is not None and self._least_blocks(victim.search) > self._state.blocks.num_blocks:
            self._finish_search(victim.search)
            return victim
        if blocks_for(victim.num_tokens, self._state.blocks.block_size) > self._state.blocks.num_blocks:
            self._finish_full(victim)
            self._drop(victim)
            return victim
        for each in self._gang(victim):
            self._preempt(each, needy, short, need)
            self._drop(each)
        return victim

    def _prefixes(self, request: Request) -> Sequence[int]:
        return self._scheduler.hashes_of(request, self._state.blocks.block_size)

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

    # -- drafts --------------------------------------------------------------------------------------

    def _verify(self) -> None:
        """Whoever decodes verifies its drafts with it, as far as budget and blocks go that no decode needs."""
        for at, work in enumerate(self._batch if self._drafts else ()):
            draft = self._drafts.get(work.request)
            if draft is not None:
                used = self._take_drafts(self._running[work.request], draft)
                if used:
                    self._batch[at] = ev.Work(work.request, "verify", work.start, 1 + used)

    def _take_drafts(self, request: Request, drafted: DraftedBy) -> int:
        """Give `request` room for its drafts; how many are verified. Nobody is preempted for them."""
        draft, size = drafted.draft, self._state.blocks.block_size
        used = len(draft)
        cut: ev.CutReason | None = None
        if used > self._left:
            used, cut = self._left, self._budget_spent(used)
        held = max(len(request.table), request.computed // size + 1)
        need = max(0, blocks_for(request.num_tokens + draft.depth(used), size) - held)
        room = self._overlay.find(need)
        if isinstance(room, Short):
            cut = NoFreeBlocks(need, room.free, room.evictable)
            need = room.free + room.evictable
            while draft.depth(used) > (held + need) * size - request.num_tokens:
                used -= 1
            room = self._overlay.find(need)
        assert isinstance(room, Room)
        self._emit(
            ev.Drafted, request=request.id, position=request.num_tokens, method=drafted.method,
            drafts=draft.tokens, q=draft.q, spreads=draft.spreads, parents=draft.parents, used=used, cut=cut,
        )  # fmt: skip
        if need:
            self._evict(room.victims, request.id)
            self._overlay.take(room, request.id)
            self._emit(ev.Allocated, request=request.id, index=held, blocks=room.blocks)
        self._left -= used
        return used

    # -- prefill -------------------------------------------------------------------------------------

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

    # -- admission -----------------------------------------------------------------------------------

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

    def _samples(self, request: Request) -> int:
        """How many requests will run on this one's prefill: itself and the samples that wait for it."""
        if request.search == request.id and not request.output_tokens:
            return request.params.beams
        return 1 + len(self._state.heirs(request))

    def _settle_queue(self) -> None:
        """Requests whose standing reason is older than this plan are behind whoever was considered."""
        fronts = [self._state.requests[id_] for id_ in self._state.fronts]
        for request in sorted(fronts, key=lambda request: request.rank):
            if request.id not in self._considered and request.id not in self._over:
                self._wait(request, BehindOlder())

    # -- saying it -----------------------------------------------------------------------------------

    def _schedule(self, request: Request, phase: ev.Phase, start: int, tokens: int) -> None:
        self._considered.add(request.id)
        self._batch.append(ev.Work(request.id, phase, start, tokens))
        self._left = max(0, self._left - tokens)

    def _wait(self, request: Request, reason: WaitReason) -> None:
        self._considered.add(request.id)
        if request.wait != reason:
            self._emit(ev.Waiting, request=request.id, reason=reason)

    def _budget_spent(self, need: int) -> TokenBudgetSpent:
        budget = self._options.token_budget
        return TokenBudgetSpent(need, budget - self._left, budget)

    def _evict(self, victims: Sequence[Victim], for_request: str) -> None:
        columns = self._state.blocks
        if (kept := self._host.keep([victim.block for victim in victims])).blocks:
            tokens = len(kept.blocks) * columns.block_size
            self._emit(
                ev.Offloaded, blocks=kept.blocks, hashes=kept.hashes, tokens=tokens, forgotten=kept.forgotten
            )
        for node, group in groupby(victims, key=lambda victim: victim.node):
            blocks = tuple(victim.block for victim in group)
            self._emit(
                ev.Evicted,
                node=node,
                blocks=blocks,
                tokens=len(blocks) * columns.block_size,
                hits=sum(columns.hits[block] for block in blocks),
                last_use_step=max(map(self._overlay.last_use, blocks)),
                policy=self._state.evictable.policy.name,
                for_request=for_request,
            )

    def _emit(self, kind: Callable[..., ev.Event], **fields: object) -> None:
        self._plan.events.append(kind(branch=self._state.branch, step=self._plan.step, **fields))


def blocks_for(tokens: int, block_size: int) -> int:
    """Blocks that hold `tokens` tokens."""
    return -(-tokens // block_size)


def inheritable(request: Request, parent: Request, block_size: int) -> int:
    """How many of a fork's tokens are in its parent's table as the fork would compute them; never its last.

    It starts on the holes that a KV policy left there too, and not in the middle of one.
    """
    if seed_of(request.params) != seed_of(parent.params):
        return 0
    most = min(parent.computed, request.num_tokens - 1 - request.held_back, request.forked_at)
    if request.pure_tokens is not None and request.pure_tokens != parent.pure_tokens:
        most = min(most, request.pure_tokens)
    index, used = divmod(most, block_size)
    return index * block_size if used and parent.table[index] == HOLE else most


def copies_for(tokens: int, samples: int, block_size: int) -> int:
    """Blocks that samples copy when they first write into the last block, partly filled by `tokens` tokens."""
    return (samples - 1) * (tokens % block_size > 0)
