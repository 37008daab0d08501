"""The engine's bookkeeping: requests, queues, blocks and the radix tree, folded from events.

`State.apply` is the only way it changes, so the engine, a reader of a session and a simulator that saw the
same events hold the same state. Token ids are not part of it: they are in a `TokenLog`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from engine import events as ev
from engine.ids import request_code, sibling_ids
from engine.kv.blocks import NO_NODE, Blocks
from engine.kv.eviction import EvictionOrder, policy_named
from engine.kv.radix import Ghost, RadixTree
from engine.params import EngineOptions, Policy, SamplingParams
from engine.reasons import Arrived, AwaitsPrefill, BehindOlder, RolledBack, WaitReason


class RequestState(StrEnum):
    WAITING = "WAITING"
    PREFILLING = "PREFILLING"
    RUNNING = "RUNNING"
    PREEMPTED = "PREEMPTED"
    FINISHED = "FINISHED"


@dataclass(slots=True)
class Request:
    """A live request. `0 <= cached_tokens <= computed <= num_tokens`; the newest token is never computed."""

    id: str
    arrival: int
    priority: int
    sample: int
    samples: int
    leader: str | None  # the sample whose prefill this one waits for
    params: SamplingParams
    prompt_tokens: int
    num_tokens: int  # prompt and output so far
    submitted_step: int
    parent: str | None = None  # of a fork
    forked_at: int = 0  # a fork's tokens before this position are its parent's
    pure_tokens: int | None = None  # KV of later positions is its own: their stages are scaled
    state: RequestState = RequestState.WAITING
    state_step: int = 0  # when it entered `state`
    computed: int = 0  # positions whose KV is in `table`
    cached_tokens: int = 0  # of those, taken from the tree at the latest admission
    table: list[int] = field(default_factory=list)
    preemptions: int = 0
    failures: int = 0  # failed steps since its latest token
    wait: WaitReason | None = None  # why it was not scheduled, None when it was

    def copy(self) -> Request:
        """An independent copy."""
        return replace(self, table=self.table.copy())

    @property
    def output_tokens(self) -> int:
        return self.num_tokens - self.prompt_tokens

    @property
    def pending(self) -> int:
        """Positions still to compute before the next token can be chosen."""
        return self.num_tokens - self.computed

    def pure_blocks(self, block_size: int) -> int | None:
        """How many leading blocks may be shared through the tree; None when all may."""
        return None if self.pure_tokens is None else self.pure_tokens // block_size

    @property
    def rank(self) -> tuple[int, int]:
        """Order of service: higher priority first, then arrival."""
        return (-self.priority, self.arrival)


@dataclass(slots=True)
class Totals:
    """Counters since the start of the branch."""

    submitted: int = 0
    finished: int = 0
    looked_up_tokens: int = 0
    hit_tokens: int = 0
    evicted_blocks: int = 0
    preemptions: int = 0
    computed_tokens: int = 0
    output_tokens: int = 0


class State:
    """Everything a plan depends on, at one point of the event stream."""

    def __init__(self, num_blocks: int, block_size: int, eviction: str = "lru", policy: Policy = "fcfs") -> None:
        self.branch = 0
        self.policy = policy
        self.step = 0  # the latest step, under way while `batch` is not empty
        self.blocks = Blocks(num_blocks, block_size)
        self.tree = RadixTree(self.blocks)
        self.evictable = EvictionOrder(self.tree, self.blocks, policy_named(eviction))
        self.requests: dict[str, Request] = {}  # live ones
        self.waiting: list[tuple[tuple[int, int], str]] = []  # WAITING and PREEMPTED, by rank
        self.running: dict[str, Request] = {}  # PREFILLING and RUNNING
        self.batch: tuple[ev.Work, ...] = ()  # scheduled and not yet committed
        self.fronts: dict[str, None] = {}  # waiting requests that no one is said to be in front of
        self.next_request = 1
        self.next_arrival = 0
        self.totals = Totals()

    @classmethod
    def at_start(cls, num_blocks: int, options: EngineOptions) -> State:
        """An empty engine under `options`."""
        return cls(num_blocks, options.block_size, options.eviction, options.policy)

    def copy(self) -> State:
        """An independent state, as this one is now; costs a few copies of arrays, whatever is in the tree."""
        twin = copy(self)
        twin.blocks = self.blocks.copy()
        twin.tree = self.tree.copy(twin.blocks)
        twin.evictable = EvictionOrder(twin.tree, twin.blocks, self.evictable.policy)
        twin.requests = {id_: request.copy() for id_, request in self.requests.items()}
        twin.waiting, twin.fronts = self.waiting.copy(), self.fronts.copy()
        twin.running = {id_: twin.requests[id_] for id_ in self.running}
        twin.totals = copy(self.totals)
        return twin

    # -- the fold ------------------------------------------------------------------------------------

    def apply(self, event: ev.Event) -> None:
        """Change the bookkeeping as `event` says; an impossible event is an AssertionError."""
        self.step = max(self.step, event.step)
        _APPLY[type(event)](self, event)

    def apply_all(self, events: Sequence[ev.Event]) -> None:
        for event in events:
            self.apply(event)

    def heirs(self, request: Request) -> list[Request]:
        """The waiting samples that will start on the table of `request`."""
        if request.samples == 1:
            return []
        siblings = map(self.requests.get, sibling_ids(request.id, request.samples))
        return [other for other in siblings if other is not None and other.leader == request.id]

    def roll_back(self, ended: Sequence[str] = (), *, failed: bool = True) -> None:
        """Undo what a step without commit could have written: its requests wait again, or end.

        Blocks that were in the tree before the step keep what they cache: no step writes into those.
        """
        batch, self.batch = self.batch, ()
        for work in batch:
            request = self.requests.get(work.request)
            if request is None:
                continue
            self._release_table(request)
            request.failures += failed
            if request.id in ended:
                self._forget(request)
            else:
                self._enqueue(request, RequestState.WAITING, RolledBack())

    def _submitted(self, event: ev.Submitted) -> None:
        request = Request(
            event.request,
            event.arrival,
            event.priority,
            event.sample,
            event.samples,
            event.leader,
            event.params,
            len(event.prompt_ids),
            len(event.prompt_ids),
            event.step,
        )
        self.requests[request.id] = request
        wait = Arrived() if event.leader is None else AwaitsPrefill(event.leader)
        self._enqueue(request, RequestState.WAITING, wait)
        self.next_arrival = event.arrival + 1
        if event.sample == 0:
            self.next_request += 1
        self.totals.submitted += 1

    def _forked(self, event: ev.Forked) -> None:
        request = Request(
            event.request, event.arrival, event.priority, event.sample, 1, None, event.params,
            event.prompt_tokens, event.at_position + len(event.appended), event.step, event.parent,
            event.at_position, None if event.intervened is None else event.intervened.start,
        )  # fmt: skip
        self.requests[request.id] = request
        self._enqueue(request, RequestState.WAITING, Arrived())
        self.next_arrival = event.arrival + 1
        self.next_request += 1
        self.totals.submitted += 1

    def _inherited(self, event: ev.Inherited) -> None:
        request = self.requests[event.request]
        assert not request.table
        self.blocks.hold(event.blocks, event.step)
        request.table.extend(event.blocks)

    def _policy_changed(self, event: ev.PolicyChanged) -> None:
        self.policy = event.policy

    def _plugin_disabled(self, event: ev.PluginDisabled) -> None:
        self.policy = event.policy or self.policy
        if event.eviction is not None:
            self.evictable = EvictionOrder(self.tree, self.blocks, policy_named(event.eviction))

    def _logits_changed(self, _event: ev.LogitsChanged) -> None:
        """Which token is chosen shows in `token`: no bookkeeping depends on the logits."""

    def _branched(self, event: ev.Branched) -> None:
        self.branch = event.branch

    def _waiting(self, event: ev.Waiting) -> None:
        self._explain(self.requests[event.request], event.reason)

    def _prefix_matched(self, event: ev.PrefixMatched) -> None:
        request = self.requests[event.request]
        assert not request.table
        self.blocks.hold(event.blocks, event.step)
        for block in event.blocks:
            self.blocks.hits[block] += 1
        request.table.extend(event.blocks)
        self.totals.looked_up_tokens += event.looked_up
        self.totals.hit_tokens += event.tokens

    def _evicted(self, event: ev.Evicted) -> None:
        parent = self.tree.nodes[event.node].parent
        self.tree.trim(event.node, event.blocks, Ghost(event.step, event.for_request))
        self.evictable.note(event.node if event.node in self.tree.nodes else parent)
        self.totals.evicted_blocks += len(event.blocks)

    def _allocated(self, event: ev.Allocated) -> None:
        request = self.requests[event.request]
        assert len(request.table) == event.index
        self.blocks.take(event.blocks, event.index, request_code(request.id), event.step)
        request.table.extend(event.blocks)

    def _copied(self, event: ev.Copied) -> None:
        request = self.requests[event.request]
        assert request.table[event.index] == event.source
        self.blocks.take((event.block,), event.index, request_code(request.id), event.step)
        self.blocks.fill[event.block] = event.tokens
        request.table[event.index] = event.block
        self._release((event.source,))

    def _admitted(self, event: ev.Admitted) -> None:
        request = self.requests[event.request]
        self._dequeue(request)
        request.cached_tokens = request.computed = event.cached_tokens
        self._run(request, RequestState.PREFILLING)

    def _preempted(self, event: ev.Preempted) -> None:
        request = self.requests[event.request]
        self._release_table(request)
        request.preemptions += 1
        self.totals.preemptions += 1
        self._enqueue(request, RequestState.PREEMPTED, None)

    def _scheduled(self, event: ev.Scheduled) -> None:
        self.batch = event.batch
        for work in event.batch:
            self.requests[work.request].wait = None

    def _computed(self, event: ev.Computed) -> None:
        size = self.blocks.block_size
        for work in event.batch:
            request = self.requests[work.request]
            assert request.computed == work.start
            request.computed = work.stop
            code = request_code(request.id)
            for index in range(work.start // size, (work.stop - 1) // size + 1):
                block = request.table[index]
                self.blocks.fill[block] = min(size, work.stop - index * size)
                self.blocks.writer[block] = code  # of samples that shared it, the one that went on in it
            self.totals.computed_tokens += work.tokens

    def _cached(self, event: ev.Cached) -> None:
        for block, hash_ in zip(event.blocks, event.hashes, strict=True):
            self.blocks.hash[block] = hash_
        self.tree.append(event.node, event.parent, event.created, event.blocks, event.step)

    def _split(self, event: ev.Split) -> None:
        self.tree.split(event.node, event.child, event.at, event.step)
        self.evictable.note(event.child)

    def _kept_private(self, event: ev.KeptPrivate) -> None:
        self.blocks.hash[event.block] = event.hash

    def _started(self, event: ev.Started) -> None:
        self._run(self.requests[event.request], RequestState.RUNNING)

    def _shared(self, event: ev.Shared) -> None:
        request, source = self.requests[event.request], self.requests[event.source]
        self._dequeue(request)
        request.table = list(source.table)
        self.blocks.hold(request.table, event.step)
        request.computed, request.cached_tokens = source.computed, source.cached_tokens
        request.leader = None
        self._run(request, RequestState.RUNNING)

    def _token(self, event: ev.Token) -> None:
        request = self.requests[event.request]
        assert event.position == request.num_tokens == request.computed
        request.num_tokens += 1
        request.failures = 0
        self.totals.output_tokens += 1

    def _finished(self, event: ev.Finished) -> None:
        request = self.requests[event.request]
        if request.state in (RequestState.WAITING, RequestState.PREEMPTED):
            self._dequeue(request)
        else:
            self._release_table(request)
        self._forget(request)

    def _step_committed(self, _event: ev.StepCommitted) -> None:
        self.batch = ()

    def _step_failed(self, event: ev.StepFailed) -> None:
        self.roll_back(event.ended, failed=event.error != ev.ABANDONED)

    # -- moves between queues ------------------------------------------------------------------------

    def _enqueue(self, request: Request, state: RequestState, wait: WaitReason | None) -> None:
        request.state, request.state_step = state, self.step
        insort(self.waiting, (request.rank, request.id))
        self._explain(request, wait)

    def _dequeue(self, request: Request) -> None:
        del self.waiting[bisect_left(self.waiting, (request.rank, request.id))]
        self.fronts.pop(request.id, None)
        request.wait = None

    def _explain(self, request: Request, reason: WaitReason | None) -> None:
        request.wait = reason
        if request.id in self.running or isinstance(reason, BehindOlder | AwaitsPrefill):
            self.fronts.pop(request.id, None)
        else:
            self.fronts[request.id] = None

    def _run(self, request: Request, state: RequestState) -> None:
        request.state, request.state_step = state, self.step
        self.running[request.id] = request

    def _release_table(self, request: Request) -> None:
        """Give up all blocks; `request` is no longer running and has computed nothing."""
        self._release(request.table)
        request.table = []
        request.computed = request.cached_tokens = 0
        self.running.pop(request.id, None)

    def _release(self, blocks: Sequence[int]) -> None:
        self.blocks.release(blocks, self.step)
        for node in {self.blocks.node[block] for block in blocks} - {NO_NODE}:
            self.evictable.note(node)

    def _forget(self, request: Request) -> None:
        del self.requests[request.id]
        self.totals.finished += 1
        heirs = self.heirs(request)
        for heir in heirs:
            heir.leader = None if heir is heirs[0] else heirs[0].id
            self._explain(heir, Arrived() if heir is heirs[0] else AwaitsPrefill(heirs[0].id))

    # -- checks --------------------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Blocks, tree, tables and queues agree; the balance of design: free + cached + owned = all."""
        self.blocks.check_invariants()
        self.tree.check_invariants()
        holders = array("i", bytes(4 * self.blocks.num_blocks))
        for request in self.requests.values():
            assert 0 <= request.cached_tokens <= request.computed <= request.num_tokens
            in_queue = request.state in (RequestState.WAITING, RequestState.PREEMPTED)
            assert in_queue != (request.id in self.running)
            assert ((request.rank, request.id) in self.waiting) == in_queue
            assert len(set(request.table)) == len(request.table)
            assert not (in_queue and request.table)
            assert request.computed <= len(request.table) * self.blocks.block_size
            for index, block in enumerate(request.table):
                holders[block] += 1
                assert self.blocks.index[block] == index
                written = min(self.blocks.block_size, request.computed - index * self.blocks.block_size)
                assert self.blocks.fill[block] >= written
        assert holders == self.blocks.ref_count
        assert len(self.waiting) + len(self.running) == len(self.requests)
        assert self.waiting == sorted(self.waiting)
        assert self.fronts.keys() <= {id_ for _, id_ in self.waiting}


_APPLY: Mapping[type[ev.Event], Callable[[State, Any], None]] = {
    ev.Submitted: State._submitted,
    ev.Forked: State._forked,
    ev.Inherited: State._inherited,
    ev.PolicyChanged: State._policy_changed,
    ev.PluginDisabled: State._plugin_disabled,
    ev.LogitsChanged: State._logits_changed,
    ev.Branched: State._branched,
    ev.Waiting: State._waiting,
    ev.PrefixMatched: State._prefix_matched,
    ev.Evicted: State._evicted,
    ev.Allocated: State._allocated,
    ev.Copied: State._copied,
    ev.Admitted: State._admitted,
    ev.Preempted: State._preempted,
    ev.Scheduled: State._scheduled,
    ev.Computed: State._computed,
    ev.Cached: State._cached,
    ev.Split: State._split,
    ev.KeptPrivate: State._kept_private,
    ev.Started: State._started,
    ev.Shared: State._shared,
    ev.Token: State._token,
    ev.Finished: State._finished,
    ev.StepCommitted: State._step_committed,
    ev.StepFailed: State._step_failed,
}
