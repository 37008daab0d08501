"""The engine's bookkeeping: requests, queues, blocks and the radix tree, folded from events.

`State.apply` is the only way it changes, so the engine, a reader of a session and a simulator that saw the
same events hold the same state. Token ids are not part of it: they are in a `TokenLog`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

from engine import events as ev
from engine.beams import Search
from engine.folding import APPLY
from engine.ids import sibling_ids
from engine.kv.blocks import NO_NODE, Blocks, HostBlock
from engine.kv.eviction import EvictionOrder, policy_named
from engine.kv.holes import HOLE
from engine.kv.radix import RadixTree
from engine.params import EngineOptions, Policy
from engine.reasons import Arrived, AwaitsPrefill, BehindOlder, RolledBack, WaitReason
from engine.request import Request, RequestState

__all__ = ["Request", "RequestState", "State", "Totals"]


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
    drafted_tokens: int = 0  # that were verified
    accepted_tokens: int = 0
    dropped_tokens: int = 0  # by a KV policy
    offloaded_blocks: int = 0  # written to host files
    loaded_blocks: int = 0  # read back from them


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
        self.searches: dict[str, Search] = {}  # beam searches by the request they began with
        self.offloaded: dict[int, HostBlock] = {}  # by hash, what is in host files; the last one used last
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
        twin.searches = self.searches.copy()
        twin.running = {id_: twin.requests[id_] for id_ in self.running}
        twin.offloaded = self.offloaded.copy()
        twin.totals = copy(self.totals)
        return twin

    def apply(self, event: ev.Event) -> None:
        """Change the bookkeeping as `event` says; an impossible event is an AssertionError."""
        self.step = max(self.step, event.step)
        APPLY[type(event)](self, event)

    def apply_all(self, events: Sequence[ev.Event]) -> None:
        for event in events:
            self.apply(event)

    def heirs(self, request: Request) -> list[Request]:
        """The waiting samples that will start on the table of `request`."""
        if request.samples == 1:
            return []
        siblings = map(self.requests.get, sibling_ids(request.id, request.samples))
        return [other for other in siblings if other is not None and other.leader == request.id]

    def beams_of(self, search: str) -> list[Request]:
        """The live beams of a search, in the order they came."""
        return [request for request in self.requests.values() if request.search == search]

    def roll_back(self, ended: Sequence[str] = (), *, failed: bool = True) -> None:
        """Undo what a step without commit could have written: its requests wait again, or end.

        Blocks that were in the tree before the step keep what they cache: no step writes into those.
        """
        batch, self.batch = self.batch, ()
        for work in batch:
            request = self.requests.get(work.request)
            if request is None:
                continue
            self.release_table(request)
            request.draft = None
            request.failures += failed
            if request.id in ended:
                self.forget(request)
            else:
                self.enqueue(request, RequestState.WAITING, RolledBack())

    # The moves that follow are the steps of the fold (`engine.folding`): nothing else may make them.

    def enqueue(self, request: Request, state: RequestState, wait: WaitReason | None) -> None:
        """`request` waits in `state`, because of `wait`."""
        request.state, request.state_step = state, self.step
        insort(self.waiting, (request.rank, request.id))
        self.note_wait(request, wait)

    def dequeue(self, request: Request) -> None:
        """`request` waits no longer."""
        del self.waiting[bisect_left(self.waiting, (request.rank, request.id))]
        self.fronts.pop(request.id, None)
        request.wait = None

    def note_wait(self, request: Request, reason: WaitReason | None) -> None:
        """`request` was not scheduled for `reason`."""
        request.wait = reason
        if request.id in self.running or isinstance(reason, BehindOlder | AwaitsPrefill):
            self.fronts.pop(request.id, None)
        else:
            self.fronts[request.id] = None

    def serve(self, request: Request, state: RequestState) -> None:
        """`request` takes part in steps from now on, in `state`."""
        request.state, request.state_step = state, self.step
        self.running[request.id] = request

    def release_table(self, request: Request) -> None:
        """Give up all blocks; `request` is no longer running and has computed nothing."""
        self.release(request.held_blocks)
        request.table = []
        request.dropped, request.weights = {}, {}
        request.computed = request.cached_tokens = 0
        self.running.pop(request.id, None)

    def release(self, blocks: Sequence[int]) -> None:
        """One table less holds each of `blocks`."""
        self.blocks.release(blocks, self.step)
        for node in {self.blocks.node[block] for block in blocks} - {NO_NODE}:
            self.evictable.note(node)

    def forget(self, request: Request) -> None:
        """`request` is over: the first sample that waited for its prefill does its own."""
        del self.requests[request.id]
        self.totals.finished += 1
        if request.search is not None and not self.beams_of(request.search):
            del self.searches[request.search]
        heirs = self.heirs(request)
        for heir in heirs:
            heir.leader = None if heir is heirs[0] else heirs[0].id
            self.note_wait(heir, Arrived() if heir is heirs[0] else AwaitsPrefill(heirs[0].id))

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
            assert len(set(request.held_blocks)) == len(request.held_blocks)
            assert request.dropped.keys() == {i for i, block in enumerate(request.table) if block == HOLE}
            assert all(index < len(request.table) for index in request.weights)
            assert not (in_queue and request.table)
            assert request.computed <= len(request.table) * self.blocks.block_size
            for index, block in enumerate(request.table):
                if block == HOLE:
                    continue
                holders[block] += 1
                assert self.blocks.index[block] == index
                written = min(self.blocks.block_size, request.computed - index * self.blocks.block_size)
                assert self.blocks.fill[block] >= written
        assert holders == self.blocks.ref_count
        assert len(self.waiting) + len(self.running) == len(self.requests)
        assert self.waiting == sorted(self.waiting)
        assert self.fronts.keys() <= {id_ for _, id_ in self.waiting}
