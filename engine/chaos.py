"""A scheduler that does what it need not: legal plans at random, to see whether tokens depend on the schedule.

Every plan could have been forced by other requests, a smaller pool or a person: the budget of each step is drawn,
chunks are cut anywhere, whoever waits is admitted in any order, running requests are preempted and cached
blocks evicted for no need. After rr's `--chaos`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

import msgspec

from engine import events as ev
from engine.drafting import NO_DRAFTS, Drafts
from engine.overlay import Room
from engine.params import EngineOptions
from engine.planning import Plan, Planning
from engine.reasons import ByHand
from engine.scheduler import Scheduler
from engine.state import Request, State
from engine.tokens import RequestSource

PREEMPT: Final = 0.08
"""How likely each running request is preempted in a step."""
MOST_PREEMPTIONS: Final = 4
"""A request that was preempted this often is left alone, so that every run ends."""
EVICT: Final = 0.2
MOST_EVICTED: Final = 8


class ChaosScheduler(Scheduler):
    """A plan follows from `seed` and the state alone, so that a round can be had again."""

    def __init__(
        self, options: EngineOptions, log: RequestSource, shareable_prompt: int | None = None, seed: str = ""
    ) -> None:
        super().__init__(options, log, shareable_prompt)
        self.seed = seed

    def over(self, log: RequestSource) -> ChaosScheduler:
        made = ChaosScheduler(self.options, log, self._shareable_prompt, self.seed)
        made.host_blocks = self.host_blocks
        return made

    def plan(self, state: State, drafts: Drafts = NO_DRAFTS) -> Plan:
        return _ChaosPlanning(self, state, drafts).run()

    def dice(self, state: State) -> random.Random:
        """The random numbers of the step after `state`."""
        return random.Random(f"{self.seed} {state.branch} {state.step}")

    def admission_order(self, state: State) -> Iterator[Request]:
        """Whoever waits, in any order; samples still wait for the one that prefills their prompt."""
        waiting = [state.requests[id_] for _, id_ in state.waiting]
        free = [request for request in waiting if request.leader is None]
        self.dice(state).shuffle(free)
        return iter(free)


class _ChaosPlanning(Planning):
    def __init__(self, scheduler: ChaosScheduler, state: State, drafts: Drafts) -> None:
        super().__init__(scheduler, state, drafts)
        self._dice = scheduler.dice(state)
        self._left = round(self._options.token_budget ** self._dice.random())
        self._options = msgspec.structs.replace(self._options, token_budget=self._left)

    def run(self) -> Plan:
        if self._dice.random() < EVICT:
            self._evict_some(self._dice.randint(1, MOST_EVICTED))
        for request in list(self._running.values()):
            if request.preemptions < MOST_PREEMPTIONS and self._dice.random() < PREEMPT:
                self._preempt_for_nothing(request)
        return super().run()

    def _evict_some(self, count: int) -> None:
        """Drop `count` cached blocks, in the order in which they would have to go; none where there are fewer."""
        found = self._overlay.find(self._overlay.free + count)
        if isinstance(found, Room):
            self._evict(found.victims, ev.BY_HAND)
            self._overlay.take(Room((), found.victims), ev.BY_HAND)

    def _preempt_for_nothing(self, victim: Request) -> None:
        self._emit(
            ev.Preempted,
            request=victim.id,
            reason=ByHand(),
            released_blocks=len(victim.held_blocks),
            recompute_tokens=victim.computed,
        )
        self._victim = victim.id
        self._drop(victim)

    def _chunk(self, pending: int) -> int:
        """Any part of what fits now, where prompts may be cut."""
        most = super()._chunk(pending)
        return self._dice.randint(1, most) if most > 1 and self._options.chunked_prefill else most
