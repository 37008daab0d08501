"""The engine: `step = plan, execute, commit`, and every change of bookkeeping an event.

A plain object to use from scripts and tests; `engine.host` runs the same one in its own process. It needs no
torch itself: tensors are behind the `Executor`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec

from engine import events as ev
from engine.capture import Captured
from engine.commit import cache_full_blocks
from engine.execution import NO_DETAILS, DetailsOf, Executor, Forward, Job, Limits, Looking, Outcome, Point
from engine.forking import ForkSpec, make_fork
from engine.ids import request_id
from engine.jobs import JobMaker
from engine.kv.dropping import cached_from
from engine.option_error import OptionError
from engine.params import EngineOptions, Policy, RequestSpec
from engine.protocol import Inspect, Inspection, LayersSeen, LookLayers
from engine.reasons import ByHand
from engine.rewinding import Rewinder, Rewound
from engine.scheduler import Plan, Scheduler, blocks_for, copies_for
from engine.stages import check_vocabulary
from engine.state import Request, RequestState, State
from engine.stopping import StopStrings, stop_after
from engine.timeline import Past, Timeline
from engine.tokens import TokenLog

_T = TypeVar("_T")

NOTHING = Outcome((), (), NO_DETAILS, 0, 0)
MakeStopStrings = Callable[[Sequence[int], Sequence[str]], StopStrings]  # prompt ids, stop strings


class RefusedError(ValueError):
    """A request that can never run here: `need` against `limit`, in the unit the message names."""

    def __init__(self, message: str, need: int, limit: int) -> None:
        super().__init__(message)
        self.need = need
        self.limit = limit


class StepFailedError(RuntimeError):
    """A step's forward pass raised; the step is rolled back and recorded. The cause is chained."""


class Sink(Protocol):
    """Who records a run. `record` and `commit` must return fast; `details` may be evaluated on another thread."""

    def record(self, events: Sequence[ev.Event]) -> None:
        """Events between steps, or the plan of the step that is about to execute. Must not raise."""
        ...

    def capture(self, tensors: Sequence[Captured]) -> None:
        """Tensors of the step that is committed next. Only called where `EngineOptions.capture` asks for some."""
        ...

    def commit(self, events: Sequence[ev.Event], details: DetailsOf | None) -> None:
        """The results of the step, closed by `step_committed` or `step_failed`.

        May raise RuntimeError when the record cannot be written: the step holds all the same, and the run
        can go on where the sink has kept what it was told.
        """
        ...

    def close(self) -> None:
        """The run is over: nothing more will be said."""
        ...


@dataclass(slots=True)
class Begun:
    """A step that is planned and recorded, and not computed, or computed in part (`forward`)."""

    plan: Plan
    job: Job
    started_ns: int
    plan_ns: int
    forward: Forward | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A finished step: its plan, the events of its results, and who explains its tokens."""

    number: int
    plan: Plan
    results: Sequence[ev.Event]
    details: DetailsOf


class Engine:
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
    ) -> None:
        """`timeline` keeps what `sink` was told; without it the engine cannot go back."""
        self.options = options
        self.limits = limits
        self.state = State.at_start(num_blocks, options)
        self.tokens = TokenLog()
        self.scheduler = Scheduler(options, self.tokens, limits.shareable_prompt)
        self._executor = executor
        self._sink = sink
        self._make_stop_strings = stop_strings
        self._stop_strings: dict[str, StopStrings] = {}
        self.begun: Begun | None = None
        self._timeline = timeline
        self._rewinder = Rewinder(executor, timeline, options)

    # -- requests ------------------------------------------------------------------------------------

    def check(self, spec: RequestSpec) -> None:
        """Raise RefusedError when `spec` can never run: context, pool, running limit or token ids.

        Raises OptionError when it biases a token that the model does not have.
        """
        check_vocabulary(spec.params, self.limits.vocab_size)
        prompt = len(spec.prompt_ids)
        if (largest := max(spec.prompt_ids)) >= self.limits.vocab_size:
            size = self.limits.vocab_size
            raise RefusedError(f"token id {largest} is outside the vocabulary of {size}", largest, size)
        if prompt >= self.limits.max_context:
            limit = self.limits.max_context
            raise RefusedError(
                f"the prompt has {prompt} tokens; the context holds {limit}, one of them to generate",
                prompt, limit,
            )  # fmt: skip
        self._check_room(prompt, spec.n)
        if spec.n > self.options.max_running:
            limit = self.options.max_running
            raise RefusedError(f"n is {spec.n}; at most {limit} requests run at once", spec.n, limit)

    def _check_room(self, prompt: int, samples: int) -> None:
        size, limit = self.options.block_size, self.state.blocks.num_blocks
        need = blocks_for(prompt, size) + copies_for(prompt, samples, size)
        if need > limit:
            raise RefusedError(
                f"the prompt needs {need} KV blocks of {size} tokens; the pool has {limit}", need, limit
            )

    def submit(self, spec: RequestSpec) -> list[str]:
        """Queue a request; returns its id, or the ids of its samples. One that can never run ends at once.

        Raises OptionError, and queues nothing, when it biases a token that the model does not have.
        """
        refused = self._refusal(spec)
        number = self.state.next_request
        ids = [request_id(number, sample if spec.n > 1 else None) for sample in range(spec.n)]
        room = max(1, self.limits.max_context - len(spec.prompt_ids))
        params = msgspec.structs.replace(spec.params, max_tokens=min(spec.params.max_tokens, room))
        events: list[ev.Event] = []
        emit = self._emitter(events)
        for sample, id_ in enumerate(ids):
            emit(
                self._event(
                    ev.Submitted, request=id_, arrival=self.state.next_arrival, priority=spec.priority,
                    sample=sample, samples=spec.n, leader=ids[0] if sample else None, params=params,
                    prompt_ids=spec.prompt_ids,
                )
            )  # fmt: skip
        if refused is not None:
            for id_ in ids:
                emit(
                    self._event(
                        ev.Finished, request=id_, reason="error", detail="does_not_fit", output_tokens=0,
                        need=refused.need, limit=refused.limit, message=str(refused),
                    )
                )  # fmt: skip
        self._record(events)
        return ids

    def _refusal(self, spec: RequestSpec) -> RefusedError | None:
        try:
            self.check(spec)
        except RefusedError as refused:
            return refused
        return None

    def fork(self, spec: ForkSpec) -> str:
        """Queue a request that goes on from another one with something changed; its id.

        Raises OptionError where there is no such request or position, or where the fork can never run.
        """
        self._between_steps()
        fork = make_fork(spec, self.tokens, self.limits, self.options.seed)
        self._check_room(spec.at_position + len(fork.appended), 1)
        id_ = request_id(self.state.next_request)
        events: list[ev.Event] = []
        emit = self._emitter(events)
        emit(
            self._event(
                ev.Forked, request=id_, arrival=self.state.next_arrival, priority=fork.priority,
                sample=fork.sample, parent=spec.parent, at_position=spec.at_position, appended=fork.appended,
                prompt_tokens=fork.prompt_tokens, params=fork.params, changed=fork.changed,
                intervened=fork.intervened,
            )
        )  # fmt: skip
        if spec.token is not None:
            self._end_if_complete(self.state.requests[id_], spec.token, emit)
        self._record(events)
        return id_

    def abort(self, request: str) -> None:
        """End a live request now, keeping what it has generated. KeyError when there is none of that id."""
        self._between_steps()
        live = self.state.requests[request]
        self._say(
            ev.Finished, request=request, reason="abort", detail="aborted", output_tokens=live.output_tokens
        )

    def preempt(self, request: str) -> None:
        """Take its blocks from a request, as if another needed them. OptionError when it is not running."""
        self._between_steps()
        live = self.state.running.get(request)
        if live is None:
            raise OptionError(f"request {request} is not running: only a running one can be preempted")
        self._say(
            ev.Preempted, request=request, reason=ByHand(), released_blocks=len(live.table),
            recompute_tokens=live.computed,
        )  # fmt: skip

    def evict(self, block: int) -> None:
        """Drop a cached block, and all cached blocks that follow it. OptionError when a request holds one."""
        self._between_steps()
        for node, blocks in cached_from(self.state, block):
            columns = self.state.blocks
            self._say(
                ev.Evicted, node=node, blocks=blocks, tokens=len(blocks) * columns.block_size,
                hits=sum(columns.hits[b] for b in blocks), last_use_step=max(columns.last_use[b] for b in blocks),
                policy="hand", for_request=ev.BY_HAND,
            )  # fmt: skip

    def set_policy(self, policy: Policy) -> None:
        """Admit in another order from the next step on. OptionError when there is no such policy."""
        self._between_steps()
        msgspec.structs.replace(self.options, policy=policy)  # checks it
        self._say(ev.PolicyChanged, policy=policy)

    def rewind(self, step: int, branch: int | None = None, *, exact: bool = False) -> Rewound:
        """Go back to the end of `step` (of this branch, or another) and open a branch there.

        KV that is still in its slots is kept. What is lost is computed again in the fewest chunks, or, when
        `exact`, by running the recorded steps again from the last one whose KV is whole. Raises OptionError
        where there is no such step, and nothing has changed then.
        """
        self._between_steps()
        parent = self.state.branch if branch is None else branch
        past, rewound = self._rewinder.back_to(parent, step, exact)
        self._stand_at(past)
        self._say(
            ev.Branched, branch=rewound.branch, parent=parent, recomputed_tokens=rewound.recomputed_tokens,
            replayed_steps=rewound.replayed_steps,
        )  # fmt: skip
        self._rewinder.start_branch(rewound.branch, parent, step)
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

    @property
    def busy(self) -> bool:
        """Whether any request is unfinished."""
        return bool(self.state.requests)

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
        plan = self.scheduler.plan(self.state)
        for event in plan.events:
            self._apply(event)
        self._record(plan.events)
        job = JobMaker(self.state, self.tokens).job(plan.events, plan.batch)
        self.begun = Begun(plan, job, started, time.perf_counter_ns() - clock)
        return self.begun

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

    def abandon(self) -> None:
        """Give up the step under way: it is rolled back, and its requests wait again."""
        assert self.begun is not None
        self._fail("abandoned", ())

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

    def _between_steps(self) -> None:
        if self.begun is not None:
            step = self.begun.plan.step
            raise RuntimeError(f"step {step} is under way: finish or abandon it first")

    def _commit(self, plan: Plan, job: Job, outcome: Outcome, started_ns: int, plan_ns: int) -> Step:
        clock = time.perf_counter_ns()
        results: list[ev.Event] = []
        emit = self._emitter(results)
        if plan.batch:
            emit(self._event(ev.Computed, batch=plan.batch))
            self._settle(plan, emit)
            self._take_tokens(job, outcome, emit)
        emit(
            self._event(
                ev.StepCommitted, tokens=sum(work.tokens for work in plan.batch), started_ns=started_ns,
                plan_ns=plan_ns, forward_ns=outcome.forward_ns, sample_ns=outcome.sample_ns,
                commit_ns=time.perf_counter_ns() - clock,
            )
        )  # fmt: skip
        self._note_time()
        if self._sink is not None:
            if outcome.captured:
                branch = self.state.branch
                self._sink.capture([taken.of_step(branch, plan.step) for taken in outcome.captured])
            self._sink.commit(results, outcome.details)
        return Step(plan.step, plan, results, outcome.details)

    def _settle(self, plan: Plan, emit: Callable[[ev.Event], None]) -> None:
        """Full blocks enter the tree; requests whose prompt is computed run, and so do their samples."""
        for work in plan.batch:
            request = self.state.requests[work.request]
            if self.scheduler.may_share(request):
                cache_full_blocks(self.state, self.tokens, request, work.start, emit)
            if request.pending == 0 and request.state is RequestState.PREFILLING:
                emit(self._event(ev.Started, request=request.id))
                for sample in self.state.heirs(request):
                    emit(self._event(ev.Shared, request=sample.id, source=request.id))

    def _take_tokens(self, job: Job, outcome: Outcome, emit: Callable[[ev.Event], None]) -> None:
        for choice, token, draw in zip(job.choices, outcome.tokens, outcome.draws, strict=True):
            request = self.state.requests[choice.request]
            emit(self._event(ev.Token, request=request.id, position=request.num_tokens, token=token, draw=draw))
            self._end_if_complete(request, token, emit)

    def _end_if_complete(self, request: Request, token: int, emit: Callable[[ev.Event], None]) -> None:
        stop = stop_after(request, token, self.limits, self._strings_of(request))
        if stop is not None:
            emit(
                self._event(
                    ev.Finished, request=request.id, reason=stop.reason, detail=stop.detail,
                    output_tokens=request.output_tokens, message=stop.message,
                )
            )  # fmt: skip

    def _strings_of(self, request: Request) -> StopStrings | None:
        if not request.params.stop or self._make_stop_strings is None:
            return None
        if request.id not in self._stop_strings:
            self._stop_strings[request.id] = self._new_stop_strings(request, self._make_stop_strings)
        return self._stop_strings[request.id]

    def _new_stop_strings(self, request: Request, make: MakeStopStrings) -> StopStrings:
        """What looks for the stop strings of `request`, told of all its output but the newest token."""
        tokens = self.tokens.tokens_of(request.id)
        strings = make(tokens[: request.prompt_tokens], request.params.stop)
        for token in tokens[request.prompt_tokens : request.num_tokens - 1]:
            strings.push(token)
        return strings

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

    # -- events --------------------------------------------------------------------------------------

    def _say(self, kind: Callable[..., ev.Event], **fields: object) -> None:
        """Apply and record one event that happens between steps."""
        event = kind(**{"branch": self.state.branch, "step": self.state.step} | fields)
        self._apply(event)
        self._record([event])

    def _event(self, kind: Callable[..., ev.Event], **fields: object) -> ev.Event:
        return kind(branch=self.state.branch, step=self.state.step, **fields)

    def _emitter(self, said: list[ev.Event]) -> Callable[[ev.Event], None]:
        def emit(event: ev.Event) -> None:
            self._apply(event)
            said.append(event)

        return emit

    def _apply(self, event: ev.Event) -> None:
        self.state.apply(event)
        self.tokens.apply(event)
        if isinstance(event, ev.Finished):
            self._forget(event.request)
        elif isinstance(event, ev.StepFailed):
            for request in event.ended:
                self._forget(request)

    def _forget(self, request: str) -> None:
        self.scheduler.forget(request)
        self._executor.forget(request)
        self._stop_strings.pop(request, None)

    def _record(self, events: Sequence[ev.Event]) -> None:
        if self._sink is not None and events:
            self._sink.record(events)
