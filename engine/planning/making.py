"""A plan in the making: what it decides on, what it has decided so far, and how it says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from engine import events as ev
from engine.drafting import NO_DRAFTS, Drafts
from engine.kv.host import HostPlan
from engine.overlay import Overlay, Victim
from engine.reasons import TokenBudgetSpent, WaitReason
from engine.request import Request
from engine.state import State

if TYPE_CHECKING:
    from engine.scheduler import Scheduler


@dataclass(slots=True)
class Plan:
    """Events to apply before the forward pass, and the batch it will run."""

    step: int
    events: list[ev.Event] = field(default_factory=list)
    batch: tuple[ev.Work, ...] = ()


class Making:
    """The state, an overlay with what is decided, and the events that say it."""

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
        self._over: set[str] = set()  # that this very plan has ended while they waited

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
