"""The engine: `step = plan, execute, commit`, and every change of bookkeeping an event.

A plain object to use from scripts and tests; `engine.host` runs the same one in its own process. It needs no
torch itself: tensors are behind the `Executor`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from engine import events as ev
from engine.capture import Captured
from engine.commit import cache_full_blocks
from engine.execution import NO_DETAILS, Choice, DetailsOf, Executor, Job, Limits, Outcome, Slice
from engine.ids import request_id
from engine.params import EngineOptions, RequestSpec
from engine.protocol import Inspect, Inspection
from engine.scheduler import Plan, Scheduler, blocks_for, copies_for
from engine.stages import check_vocabulary
from engine.state import Request, RequestState, State
from engine.stopping import StopStrings, stop_after
from engine.tokens import TokenLog

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
    ) -> None:
        self.options = options
        self.limits = limits
        self.state = State(num_blocks, options.block_size, options.eviction)
        self.tokens = TokenLog()
        self.scheduler = Scheduler(options, self.tokens, limits.shareable_prompt)
        self._executor = executor
        self._sink = sink
        self._make_stop_strings = stop_strings
        self._stop_strings: dict[str, StopStrings] = {}

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
        size = self.options.block_size
        need = blocks_for(prompt, size) + copies_for(prompt, spec.n, size)
        if need > self.state.blocks.num_blocks:
            limit = self.state.blocks.num_blocks
            raise RefusedError(
                f"the prompt needs {need} KV blocks of {size} tokens; the pool has {limit}", need, limit
            )
        if spec.n > self.options.max_running:
            limit = self.options.max_running
            raise RefusedError(f"n is {spec.n}; at most {limit} requests run at once", spec.n, limit)

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

    def abort(self, request: str) -> None:
        """End a live request now, keeping what it has generated. KeyError when there is none of that id."""
        live = self.state.requests[request]
        events: list[ev.Event] = []
        finished = self._event(
            ev.Finished, request=request, reason="abort", detail="aborted", output_tokens=live.output_tokens
        )
        self._emitter(events)(finished)
        self._record(events)

    def inspect(self, row: Inspect) -> Inspection:
        """Compute an input row of any request again and look inside. ValueError when there is no such row."""
        return self._executor.inspect(self.state, self.tokens, row)

    def close(self) -> None:
        """End the run: close its record."""
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
        started = time.time_ns()
        clock = time.perf_counter_ns()
        plan = self.begin()
        planned_ns = time.perf_counter_ns() - clock
        job = self._job(plan)
        try:
            outcome = self._executor.execute(job) if plan.batch else NOTHING
        except Exception as error:
            self._fail(error, self._to_end(plan, error))
            raise StepFailedError(f"step {plan.step} failed: {error or type(error).__name__}") from error
        except BaseException as interrupt:
            self._fail(interrupt, ())
            raise
        return self._commit(plan, job, outcome, started, planned_ns)

    def run(self, max_steps: int | None = None) -> int:
        """Step until nothing is live, or `max_steps` times; the number of steps taken."""
        steps = 0
        while (max_steps is None or steps < max_steps) and self.step() is not None:
            steps += 1
        return steps

    def begin(self) -> Plan:
        """Plan the next step, apply the plan and record it; nothing has been computed yet."""
        plan = self.scheduler.plan(self.state)
        for event in plan.events:
            self._apply(event)
        self._record(plan.events)
        return plan

    def _job(self, plan: Plan) -> Job:
        slices = [self._slice(work) for work in plan.batch]
        choices = [choice for row, work in enumerate(plan.batch) for choice in self._choices(row, work)]
        copies = [event for event in plan.events if isinstance(event, ev.Copied)]
        return Job(copies, slices, choices)

    def _slice(self, work: ev.Work) -> Slice:
        tokens = self.tokens.tokens_of(work.request)[work.start : work.stop]
        request = self.state.requests[work.request]
        return Slice(work, tokens, request.table, request.prompt_tokens)

    def _choices(self, row: int, work: ev.Work) -> list[Choice]:
        """Whose next token the last row of `work` chooses: its request, and samples that wait for its prefill."""
        request = self.state.requests[work.request]
        if work.stop < request.num_tokens:
            return []
        heirs = self.state.heirs(request)
        return [self._choice(row, other) for other in (request, *heirs)]

    def _choice(self, row: int, request: Request) -> Choice:
        tokens = self.tokens.tokens_of(request.id)
        return Choice(request.id, row, request.sample, request.params, request.prompt_tokens, tokens)

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
            prompt = self.tokens.tokens_of(request.id)[: request.prompt_tokens]
            self._stop_strings[request.id] = self._make_stop_strings(prompt, request.params.stop)
        return self._stop_strings[request.id]

    def _to_end(self, plan: Plan, error: Exception) -> tuple[str, ...]:
        """Whom `error` ends: the request of the batch that it names, or else those that fail again."""
        failed = [self.state.requests[work.request] for work in plan.batch]
        named = tuple(request.id for request in failed if request.id == getattr(error, "request_id", None))
        return named or tuple(request.id for request in failed if request.failures > 0)

    def _fail(self, error: BaseException, ended: tuple[str, ...]) -> None:
        results: list[ev.Event] = []
        message = f"{type(error).__name__}: {error}"
        self._emitter(results)(self._event(ev.StepFailed, error=message, ended=ended))
        if self._sink is not None:
            self._sink.commit(results, None)

    # -- events --------------------------------------------------------------------------------------

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
