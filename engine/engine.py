"""The engine: `step = plan, execute, commit`, and every change of bookkeeping an event.

A plain object to use from scripts and tests; `engine.host` runs the same one in its own process. It needs no
torch itself: tensors are behind the `Executor`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

from engine import events as ev
from engine.beam_rows import Continuation
from engine.books import Begun, Emit
from engine.commit import cache_full_blocks
from engine.drafting import NO_DRAFTS, Drafts
from engine.drafting_requests import draft_requests
from engine.endings import MakeStopStrings
from engine.execution import NO_DETAILS, DetailsOf, Executor, Forward, Job, Limits, Looking, Outcome, Point
from engine.intake import RefusedError
from engine.jobs import JobMaker
from engine.keeping import drop, kv_of
from engine.params import EngineOptions
from engine.planning import Plan
from engine.plug_guard import PluginFailedError
from engine.plugs import Plugs, check_policies
from engine.protocol import Inspect, Inspection, LayersSeen, LookLayers
from engine.rewinding import Rewinder, Rewound
from engine.scheduler import Scheduler
from engine.searching import Searching, with_beams
from engine.sink import Sink
from engine.state import Request, RequestState, State
from engine.taking import captured_of, details_of
from engine.timeline import Past, Timeline

__all__ = ["Begun", "Engine", "MakeStopStrings", "RefusedError", "Sink", "Step", "StepFailedError"]

_T = TypeVar("_T")

NOTHING = Outcome((), (), NO_DETAILS, 0, 0)


class StepFailedError(RuntimeError):
    """A step's forward pass raised; the step is rolled back and recorded. The cause is chained."""


@dataclass(frozen=True, slots=True)
class Step:
    """A finished step: its plan, the events of its results, and who explains its tokens."""

    number: int
    plan: Plan
    results: Sequence[ev.Event]
    details: DetailsOf


class Engine(Searching):
    """Continuous batching over a paged KV cache with prefix sharing, one step at a time."""

    def __init__(
        self,
        executor: Executor,
        limits: Limits,
        num_blocks: int,
        options: EngineOptions,
        sink: Sink | None = None,
        stop_strings: MakeStopStrings | None = None,
        timeline: Timeline | None = None,
        plugs: Plugs | None = None,
    ) -> None:
        """`timeline` keeps what `sink` was told; without it the engine cannot go back. `plugs` are plugins'.

        Raises OptionError for a policy that is not there.
        """
        check_policies(options)
        self.plugs = plugs or Plugs()
        super().__init__(State.at_start(num_blocks, options), sink, limits, stop_strings, options)
        self.scheduler = Scheduler(options, self.tokens, limits.shareable_prompt)
        self.scheduler.host_blocks = self.plugs.kv_host[1].host_blocks if self.plugs.kv_host else 0
        self._executor = executor
        self._timeline = timeline
        self._rewinder = Rewinder(executor, timeline, options)

    @property
    def executor(self) -> Executor:
        """Who holds the tensors."""
        return self._executor

    # -- going back ----------------------------------------------------------------------------------

    def rewind(
        self, step: int, branch: int | None = None, *, exact: bool = False, afresh: bool = False
    ) -> Rewound:
        """Go back to the end of `step` (of this branch, or another) and open a branch there.

        KV that is still in its slots is kept. What is lost is computed again in the fewest chunks, or, when
        `exact`, by running the recorded steps again from the last one whose KV is whole; with `afresh` no KV
        counts as kept. Raises OptionError where there is no such step, and nothing has changed then.
        """
        self._between_steps()
        parent = self.state.branch if branch is None else branch
        if afresh:
            self._rewinder.lose_everything()
        past, rewound = self._rewinder.back_to(parent, step, exact)
        self._stand_at(past)
        self._say(
            ev.Branched, branch=rewound.branch, parent=parent, recomputed_tokens=rewound.recomputed_tokens,
            replayed_steps=rewound.replayed_steps,
        )  # fmt: skip
        self._rewinder.start_branch(rewound.branch, parent, step)
        for failure in self.plugs.disabled.values():
            self._say(ev.PluginDisabled, **self._disabled(failure))
        return rewound

    def cost_of_rewind(self, step: int, branch: int | None = None, *, exact: bool = False) -> Rewound:
        """What `rewind` would do, doing nothing. Raises OptionError as it does."""
        return self._rewinder.cost(self.state.branch if branch is None else branch, step, exact)

    def way(self) -> dict[int, int]:
        """The branches that led here, each with the last step that is part of the way."""
        return self._rewinder.way(self.state.branch, self.state.step)

    def _stand_at(self, past: Past) -> None:
        for request in {*self.state.requests, *past.state.requests}:
            self._forget(request)
        self.state, self.tokens = past.state, past.tokens
        self.scheduler = self.scheduler.over(self.tokens)

    def _forget(self, request: str) -> None:
        super()._forget(request)
        self.scheduler.forget(request)
        self._executor.forget(request)

    def _note_time(self) -> None:
        self._rewinder.note(self.state.branch, self.state.step)

    def inspect(self, row: Inspect) -> Inspection:
        """Compute an input row of any request again and look inside. ValueError when there is no such row."""
        return self._executor.inspect(self.state, self.tokens, row)

    def look(self, row: LookLayers) -> LayersSeen:
        """Compute an input row again and look at all its stages. ValueError when there is no such row."""
        if not isinstance(self._executor, Looking):
            raise ValueError("this engine has no tensors to look at")
        return self._executor.look(self.state, self.tokens, row)

    def close(self) -> None:
        """End the run: give up the step under way, and close the record."""
        try:
            if self.begun is not None:
                self.abandon()
        finally:
            if self._timeline is not None:
                self._timeline.close()
            if self._sink is not None:
                self._sink.close()

    # -- steps ---------------------------------------------------------------------------------------

    def step(self) -> Step | None:
        """Plan, execute, commit; None when no request is live.

        Raises StepFailedError when the forward pass raises: the step is rolled back and recorded, its
        requests wait again, and the engine can go on. A request ends in error when the failure names it
        (an attribute `request_id`), or else when its steps fail twice without a token in between.
        """
        if not self.busy:
            return None
        return self.complete(self.begin())

    def run(self, max_steps: int | None = None) -> int:
        """Step until nothing is live, or `max_steps` times; the number of steps taken."""
        steps = 0
        while (max_steps is None or steps < max_steps) and self.step() is not None:
            steps += 1
        return steps

    def begin(self) -> Begun:
        """Plan the next step, apply the plan and record it; nothing has been computed yet."""
        self._between_steps()
        started = time.time_ns()
        clock = time.perf_counter_ns()
        drafts = self._drafts()
        plan = self._plan(drafts)
        for event in plan.events:
            self._apply(event)
        self._record(plan.events)
        job = JobMaker(self.state, self.tokens).job(plan.events, plan.batch)
        self.begun = Begun(plan, job, started, time.perf_counter_ns() - clock)
        return self.begun

    def _drafts(self) -> Drafts:
        """What is drafted for the next step; nothing, from here on, where that fails."""
        drafter = self.plugs.drafts
        if drafter is None:
            return NO_DRAFTS
        limits, budget, seed = self.limits, self.options.token_budget, self.options.seed
        asked = list(draft_requests(self.state, self.tokens, budget, limits.max_context, seed))
        try:
            return drafter.propose(asked, limits.vocab_size) if asked else NO_DRAFTS
        except PluginFailedError as failure:
            self.disable_plugin(failure)
            return NO_DRAFTS

    def _plan(self, drafts: Drafts) -> Plan:
        """The next step's plan; made anew without a plugin that fails at it."""
        while True:
            try:
                return self.scheduler.plan(self.state, drafts)
            except PluginFailedError as failure:
                if failure.plugin in self.plugs.disabled:
                    raise
                self.disable_plugin(failure)

    def disable_plugin(self, failure: PluginFailedError) -> None:
        """Ask the plugin no more, and record why."""
        self._between_steps()
        self.plugs.disable(failure)
        self._say(ev.PluginDisabled, **self._disabled(failure))

    def enter(self, begun: Begun) -> Forward | None:
        """Stand before the first stage of the forward pass; None when nothing runs in this step."""
        if begun.forward is None and begun.plan.batch:
            begun.forward = self._attempt(begun, lambda: self._executor.begin(begun.job))
        return begun.forward

    def next_stage(self, begun: Begun) -> Point | None:
        """Run on to the next stage of the forward pass; None when the last one is behind, or nothing runs.

        Raises StepFailedError as `step` does.
        """
        forward = self.enter(begun)
        return None if forward is None else self._attempt(begun, forward.next)

    def complete(self, begun: Begun) -> Step:
        """Compute what is left of the step, and commit it. Raises StepFailedError as `step` does."""
        outcome = self._attempt(begun, lambda: self._compute(begun))
        self.begun = None
        return self._commit(begun.plan, begun.job, outcome, begun.started_ns, begun.plan_ns)

    def abandon(self, error: str = ev.ABANDONED, ended: tuple[str, ...] = ()) -> None:
        """Give up the step under way: it is rolled back, and its requests but `ended` wait again."""
        assert self.begun is not None
        self._fail(error, ended)

    def _compute(self, begun: Begun) -> Outcome:
        if begun.forward is not None:
            return begun.forward.finish()
        return self._executor.execute(begun.job) if begun.plan.batch else NOTHING

    def _attempt(self, begun: Begun, action: Callable[[], _T]) -> _T:
        """What `action` returns; when it raises, the step has failed."""
        try:
            return action()
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}", self._to_end(begun.plan, error))
            reason = error or type(error).__name__
            raise StepFailedError(f"step {begun.plan.step} failed: {reason}") from error
        except BaseException as interrupt:
            self._fail(f"{type(interrupt).__name__}: {interrupt}", ())
            raise

    def _commit(self, plan: Plan, job: Job, outcome: Outcome, started_ns: int, plan_ns: int) -> Step:
        clock = time.perf_counter_ns()
        results: list[ev.Event] = []
        emit = self._emitter(results)
        answers = self._answers(job, outcome)
        beams: Sequence[Continuation] = ()
        if plan.batch:
            self._accept(answers, outcome, emit)
            batch = self._true_batch(plan.batch, answers)
            emit(self._event(ev.Computed, batch=batch))
            self._say_lost(outcome, emit)
            self._settle(plan, batch, outcome, emit)
            self._give_back(answers, emit)
            self._take_last(answers, outcome, emit)
            beams = self._go_on(job, outcome, emit)
        emit(
            self._event(
                ev.StepCommitted, tokens=sum(work.tokens for work in plan.batch), started_ns=started_ns,
                plan_ns=plan_ns, forward_ns=outcome.forward_ns, sample_ns=outcome.sample_ns,
                commit_ns=time.perf_counter_ns() - clock,
            )
        )  # fmt: skip
        self._note_time()
        details = with_beams(details_of(answers, outcome), beams)
        if self._sink is not None:
            if outcome.captured:
                captured, branch = captured_of(answers, outcome.captured), self.state.branch
                self._sink.capture([taken.of_step(branch, plan.step) for taken in captured])
            self._sink.commit(results, details)
        return Step(plan.step, plan, results, details)

    def _settle(self, plan: Plan, batch: Sequence[ev.Work], outcome: Outcome, emit: Emit) -> None:
        """Full blocks enter the tree; requests whose prompt is computed run, and so do their samples."""
        size = self.state.blocks.block_size
        loaded = {event.request: event.index * size for event in plan.events if isinstance(event, ev.Loaded)}
        for work in batch:
            request = self.state.requests[work.request]
            if self.scheduler.may_share(request):
                start = loaded.get(request.id, work.start)
                cache_full_blocks(self.state, self.tokens, request, start, emit)
            self._drop(request, work, outcome, emit)
            if request.pending == request.held_back and request.state is RequestState.PREFILLING:
                emit(self._event(ev.Started, request=request.id))
                for sample in self.state.heirs(request):
                    emit(self._event(ev.Shared, request=sample.id, source=request.id))

    def _say_lost(self, outcome: Outcome, emit: Emit) -> None:
        """Say which host files could not be written or read."""
        for lost in outcome.lost:
            event = ev.OffloadLost(branch=self.state.branch, step=self.state.step, **asdict(lost))
            emit(event)
            self.plugs.tell_lost(event)

    def _drop(self, request: Request, work: ev.Work, outcome: Outcome, emit: Emit) -> None:
        """Say what the KV policy of the run has measured of a request, and what it drops of it."""
        policy = self.plugs.keeps
        if policy is None:
            return
        for seen in outcome.weighed:
            if seen.request == request.id:
                emit(self._event(ev.Weighed, **asdict(seen)))
        try:
            found = self.plugs.drop(policy, kv_of(self.state, request, work.start))
        except PluginFailedError as failure:
            where = {"request": request.id, "position": request.computed}
            emit(self._event(ev.PluginDisabled, **where | self._disabled(failure)))
            return
        if found is not None:
            drop(self.state, request, found, policy.name, emit)

    def _to_end(self, plan: Plan, error: Exception) -> tuple[str, ...]:
        """Whom `error` ends: the request of the batch that it names, or else those that fail again."""
        failed = [self.state.requests[work.request] for work in plan.batch]
        named = tuple(request.id for request in failed if request.id == getattr(error, "request_id", None))
        return named or tuple(request.id for request in failed if request.failures > 0)

    def _fail(self, error: str, ended: tuple[str, ...]) -> None:
        self.begun = None
        results: list[ev.Event] = []
        self._emitter(results)(self._event(ev.StepFailed, error=error, ended=ended))
        self._note_time()
        if self._sink is not None:
            self._sink.commit(results, None)
