"""What runs next: `plan(state)` decides, says why, and changes nothing. How: `engine.planning`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from engine.admission import MOST_COMPARED, Waits, policy_named
from engine.drafting import NO_DRAFTS, Drafts
from engine.kv.host import HostPlan
from engine.kv.prefix import Match, match, no_cache
from engine.kv.radix import chain_hashes
from engine.kv.seeds import seed_of
from engine.params import EngineOptions
from engine.planning import Plan, Planning
from engine.reasons import StagesDiffer
from engine.request import Request
from engine.state import State
from engine.tokens import RequestSource


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
