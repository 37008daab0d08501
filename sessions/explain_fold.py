"""The lives of requests, gathered from events in one pass beside the fold of the bookkeeping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from engine import events as ev
from engine.ids import SAMPLE_BITS, request_of, sibling_ids
from engine.reasons import CacheOff, Diverged, MatchEnd, NeededBlocks, NeverComputed
from engine.state import Request, State
from engine.tokens import TokenSource
from sessions.explain_clock import StepClock
from sessions.explain_draft import Draft
from sessions.explain_facts import (
    Admission,
    Copies,
    Ending,
    Failure,
    Life,
    Look,
    Other,
    Preemption,
    RunTotals,
    WentBack,
)
from sessions.explain_line import Line
from sessions.explain_match import in_smaller_blocks, not_yet_by

MOST_SAMPLES: Final = 1 << SAMPLE_BITS


@dataclass(slots=True)
class _Tally:
    """Counts over all requests."""

    steps: int = 0
    failed_steps: int = 0
    first_look: Look = field(default_factory=Look)
    resumed_look: Look = field(default_factory=Look)
    preemptions: int = 0
    evicted_blocks: int = 0
    copied_blocks: int = 0
    output_tokens: int = 0
    peak_blocks: int = 0
    went_back: list[WentBack] = field(default_factory=list)


class Gatherer:
    """Folds events onto `state` and notes what they mean for requests: for all, or for those in `wanted`.

    `tokens` knows the tokens of every request at least as far as `state` does. With `compare` each match is
    looked at in smaller blocks, too.
    """

    def __init__(
        self, state: State, tokens: TokenSource, wanted: Collection[str] | None = None, *, compare: bool = True
    ) -> None:
        self.state = state
        self._compare = compare and state.blocks.block_size > 1
        self._tokens = tokens
        self._wanted = wanted
        self._drafts: dict[str, Draft] = {}
        self._line = Line()
        self._clock = StepClock(state.step)
        self._computed = True  # whether the latest step has its results: what is said now holds from the next on
        self._admitting: Admission | None = None
        self._unshared: set[str] = set()  # live requests whose KV is nobody else's
        self._planned_step = state.step
        self._tally = _Tally()

    def take(self, event: ev.Event) -> None:
        """The next event of the history."""
        if event.step > self.state.step:
            self._computed = False
        kind = type(event)
        if before := _BEFORE.get(kind):
            before(self, event)
        self.state.apply(event)
        if after := _AFTER.get(kind):
            after(self, event)

    @property
    def complete(self) -> bool:
        """Whether all that was wanted has ended."""
        return self._wanted is not None and all(
            id_ in self._drafts and self._drafts[id_].ending for id_ in self._wanted
        )

    def lives(self) -> list[Life]:
        """The lives so far, in order of arrival. The end of the gathering."""
        drafts = sorted(self._drafts.values(), key=lambda draft: draft.event.arrival)
        return [draft.life(self._line, self._clock, self.state.step + 1) for draft in drafts]

    def totals(self, lives: Iterable[Life]) -> RunTotals:
        """What the run came to, whose requests lived `lives`."""
        waited, finished, computed, recomputed = Counter[str](), Counter[str](), 0, 0
        for life in lives:
            finished[life.ending.reason if life.ending else "unfinished"] += 1
            computed, recomputed = computed + life.computed_tokens, recomputed + life.recomputed_tokens
            for wait in life.waits:
                waited[wait.code] += wait.steps
        tally, blocks = self._tally, self.state.blocks
        return RunTotals(
            steps=tally.steps, failed_steps=tally.failed_steps, requests=finished.total(),
            finished=dict(finished), first_look=tally.first_look, resumed_look=tally.resumed_look,
            waited_steps=dict(waited), preemptions=tally.preemptions, evicted_blocks=tally.evicted_blocks,
            copied_blocks=tally.copied_blocks, computed_tokens=computed, recomputed_tokens=recomputed,
            output_tokens=tally.output_tokens, peak_blocks=tally.peak_blocks, num_blocks=blocks.num_blocks,
            block_size=blocks.block_size, went_back=tuple(tally.went_back),
        )  # fmt: skip

    @property
    def _now(self) -> int:
        """The first step for which what is being said holds."""
        return self.state.step + 1 if self._computed else self.state.step

    # -- arriving and being admitted -----------------------------------------------------------------

    def _submitted(self, event: ev.Submitted) -> None:
        self._arrived(event.request, Draft(event))

    def _forked(self, event: ev.Forked) -> None:
        self._arrived(event.request, Draft.of_fork(event))

    def _arrived(self, request: str, draft: Draft) -> None:
        if self._wanted is None or request in self._wanted:
            self._drafts[request] = draft
            draft.enter("queue", self._now)
            draft.waits.hold(self.state.requests[request].wait, self._now, self._line)

    def _waiting(self, event: ev.Waiting) -> None:
        if draft := self._drafts.get(event.request):
            draft.waits.hold(event.reason, self._now, self._line)

    def _matching(self, event: ev.PrefixMatched) -> None:
        """Not applied yet: the pool is as the match found it."""
        if isinstance(event.end, CacheOff):
            self._unshared.add(event.request)
        draft = self._drafts.get(event.request)
        if draft is None:
            return
        alone = isinstance(event.end, CacheOff) or not self._compare
        self._admitting = Admission(
            step=event.step, resumed=bool(draft.admissions), looked_up=event.looked_up,
            cached_tokens=event.tokens, end=event.end, written_by=self._writer(event.end),
            not_yet_by=self._not_yet_by(event),
            smaller=() if alone else in_smaller_blocks(self.state, self._tokens, event, self._unshared),
        )  # fmt: skip

    def _inheriting(self, event: ev.Inherited) -> None:
        if draft := self._drafts.get(event.request):
            live = self.state.requests[event.request]
            self._admitting = Admission(
                step=event.step, resumed=bool(draft.admissions), looked_up=live.num_tokens,
                cached_tokens=event.tokens, end=None, inherited_from=event.source,
            )  # fmt: skip

    def _writer(self, end: MatchEnd) -> str | None:
        return request_of(self.state.blocks.writer[end.block]) if isinstance(end, Diverged) else None

    def _not_yet_by(self, event: ev.PrefixMatched) -> str | None:
        return not_yet_by(self.state, self._tokens, event) if isinstance(event.end, NeverComputed) else None

    def _evicted(self, event: ev.Evicted) -> None:
        self._tally.evicted_blocks += len(event.blocks)
        if (now := self._admitting) is not None:
            self._admitting = replace(
                now, evicted_blocks=now.evicted_blocks + len(event.blocks),
                evicted_tokens=now.evicted_tokens + event.tokens,
            )  # fmt: skip

    def _admitted(self, event: ev.Admitted) -> None:
        draft, now, self._admitting = self._drafts.get(event.request), self._admitting, None
        if draft is None or now is None:
            return
        resumed = event.resumed or now.resumed
        now = replace(now, resumed=resumed, need_blocks=event.need_blocks, free_blocks=event.free_blocks)
        if now.end is not None:
            self._look(now)
        draft.admissions.append(now)
        draft.resume(event.step, event.cached_tokens)
        draft.have(event.cached_tokens)
        draft.enter("prefill", self._now)

    def _look(self, admission: Admission) -> None:
        name = "resumed_look" if admission.resumed else "first_look"
        before: Look = getattr(self._tally, name)
        looked_up, hit = admission.looked_up, admission.cached_tokens
        setattr(self._tally, name, Look(before.looked_up_tokens + looked_up, before.hit_tokens + hit))

    # -- the plan ------------------------------------------------------------------------------------

    def _preempting(self, event: ev.Preempted) -> None:
        """Not applied yet: the ranks of who could have gone instead are known."""
        self._tally.preemptions += 1
        if draft := self._drafts.get(event.request):
            others = event.reason.others if isinstance(event.reason, NeededBlocks) else ()
            draft.preemptions.append(
                Preemption(
                    event.step, event.reason, self._spared(event.request, others), event.released_blocks,
                    event.recompute_tokens,
                )
            )  # fmt: skip

    def _spared(self, request: str, others: Iterable[str]) -> tuple[Other, ...]:
        victim = self.state.requests[request]
        return tuple(Other(id_, _kept_by(self.state.requests[id_], victim)) for id_ in others)

    def _preempted(self, event: ev.Preempted) -> None:
        if draft := self._drafts.get(event.request):
            draft.enter("preempted", self._now)
            draft.waits.hold(None, self._now, self._line)

    def _branched(self, event: ev.Branched) -> None:
        went = WentBack(event.step, event.recomputed_tokens, event.replayed_steps)
        self._tally.went_back.append(went)
        for draft in self._drafts.values():
            if draft.ending is None:
                draft.went_back.append(went)

    def _copied(self, event: ev.Copied) -> None:
        self._tally.copied_blocks += 1
        if draft := self._drafts.get(event.request):
            draft.copies = Copies(draft.copies.blocks + 1, draft.copies.tokens + event.tokens)

    def _scheduled(self, event: ev.Scheduled) -> None:
        self._tally.peak_blocks = max(self._tally.peak_blocks, self.state.blocks.owned)
        for work in event.batch:
            if draft := self._drafts.get(work.request):
                draft.waits.end(event.step, self._line)
        self._planned()

    def _planned(self) -> None:
        self._planned_step = self.state.step
        self._line.planned(self.state)

    # -- the results ---------------------------------------------------------------------------------

    def _results(self, event: ev.Computed) -> None:
        self._computed = True
        for work in event.batch:
            if draft := self._drafts.get(work.request):
                draft.compute(work)

    def _started(self, event: ev.Started) -> None:
        if draft := self._drafts.get(event.request):
            draft.enter("decode", self._now)

    def _shared(self, event: ev.Shared) -> None:
        if draft := self._drafts.get(event.request):
            draft.waits.end(self._now, self._line)
            draft.leader = event.source
            draft.have(self.state.requests[event.request].computed)
            draft.enter("decode", self._now)

    def _verified(self, event: ev.Verified) -> None:
        if draft := self._drafts.get(event.request):
            draft.drafted += len(event.drafts)
            draft.accepted += sum(each.verdict == "accepted" for each in event.drafts)

    def _token(self, event: ev.Token) -> None:
        self._tally.output_tokens += 1
        if draft := self._drafts.get(event.request):
            draft.output_tokens += 1

    def _finished(self, event: ev.Finished) -> None:
        ending = Ending(event.step, event.reason, event.detail, event.need, event.limit, event.message)
        self._end(event.request, ending)

    def _end(self, request: str, ending: Ending) -> None:
        self._unshared.discard(request)
        self._promote(request)
        if draft := self._drafts.get(request):
            draft.ending = ending
            draft.waits.end(self._now, self._line)
            draft.leave(self._now)

    def _promote(self, ended: str) -> None:
        """Samples that waited for the prefill of one that has ended wait for another one, or for themselves."""
        for id_ in sibling_ids(ended, MOST_SAMPLES) if "." in ended else ():
            draft, live = self._drafts.get(id_), self.state.requests.get(id_)
            if draft and live and draft.waits.since is not None and draft.waits.reason != live.wait:
                draft.waits.hold(live.wait, self._now, self._line)

    def _step_committed(self, event: ev.StepCommitted) -> None:
        self._computed = True
        self._tally.steps += 1
        self._clock.see(event)
        if self._planned_step < event.step:  # an empty plan is not said to be scheduled
            self._planned()

    def _failing(self, event: ev.StepFailed) -> None:
        """Not applied yet: the batch is known."""
        self._computed = True
        self._tally.failed_steps += 1
        self._clock.see(event)
        for work in self.state.batch:
            if draft := self._drafts.get(work.request):
                draft.failures.append(Failure(event.step, event.error))
                draft.enter("queue", self._now)

    def _step_failed(self, event: ev.StepFailed) -> None:
        for id_ in event.ended:
            self._end(id_, Ending(event.step, "error", "step_failed", message=event.error))
        for id_, draft in self._drafts.items():
            if draft.failures and draft.failures[-1].step == event.step and draft.ending is None:
                draft.waits.hold(self.state.requests[id_].wait, self._now, self._line)


def _kept_by(other: Request, victim: Request) -> Literal["priority", "age"] | None:
    if other.priority != victim.priority:
        return "priority" if other.priority > victim.priority else None
    return "age" if other.arrival < victim.arrival else None


_Handler = Callable[[Gatherer, Any], None]

_BEFORE: Final[Mapping[type[ev.Event], _Handler]] = {
    ev.PrefixMatched: Gatherer._matching,
    ev.Inherited: Gatherer._inheriting,
    ev.Preempted: Gatherer._preempting,
    ev.StepFailed: Gatherer._failing,
}
_AFTER: Final[Mapping[type[ev.Event], _Handler]] = {
    ev.Submitted: Gatherer._submitted,
    ev.Forked: Gatherer._forked,
    ev.Waiting: Gatherer._waiting,
    ev.Evicted: Gatherer._evicted,
    ev.Admitted: Gatherer._admitted,
    ev.Preempted: Gatherer._preempted,
    ev.Branched: Gatherer._branched,
    ev.Copied: Gatherer._copied,
    ev.Scheduled: Gatherer._scheduled,
    ev.Computed: Gatherer._results,
    ev.Started: Gatherer._started,
    ev.Shared: Gatherer._shared,
    ev.Verified: Gatherer._verified,
    ev.Token: Gatherer._token,
    ev.Finished: Gatherer._finished,
    ev.StepCommitted: Gatherer._step_committed,
    ev.StepFailed: Gatherer._step_failed,
}
