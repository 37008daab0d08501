"""A trace for ui.perfetto.dev and chrome://tracing, in the Trace Event Format (JSON).

    process 1 engine      thread 1: a slice a step, with schedule, forward, sample and commit inside
                          counters: KV blocks, requests, tokens per second
                          flows: from the step that preempted a request to the one that resumed it
    process 2 requests    an async track a request, with its phases inside

Times are in microseconds from the start of the first step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, BinaryIO, Final

import msgspec

from sessions.export.excerpt import Excerpt
from sessions.export.output import Progress
from sessions.export.trace_clock import TraceClock
from sessions.records import Phase, RequestRow, StepRow

TraceEvent = dict[str, Any]

ENGINE: Final = 1
REQUESTS: Final = 2
STEPS: Final = 1
REPORT_STEPS: Final = 1_000

_PARTS: Final = ("schedule", "forward", "sample", "commit")


def write(excerpt: Excerpt, stream: BinaryIO, progress: Progress) -> None:
    """Write the trace, an event a line."""
    header = excerpt.session.header
    about = {"session": excerpt.name, "model": header.model_name, "created": header.created}
    head = about | {"excerpt": excerpt.about}
    stream.write(b'{"displayTimeUnit":"ms","otherData":' + msgspec.json.encode(head) + b',"traceEvents":[\n')
    for number, event in enumerate(trace_events(excerpt, progress)):
        stream.write((b",\n" if number else b"") + msgspec.json.encode(event))
    stream.write(b"\n]}\n")


def trace_events(excerpt: Excerpt, progress: Progress) -> Iterator[TraceEvent]:
    """All events: names, then steps and counters in order of time, then request after request."""
    yield from _names(excerpt.session.header.model_name)
    clock = TraceClock(excerpt.first_step)
    total = excerpt.last_step - excerpt.first_step + 1
    for done, row in enumerate(excerpt.step_rows(), 1):
        before = clock.end_of(clock.last_step)
        yield from _step(row, clock.add(row))
        yield from _counters(row, before, clock.end_of(row.step))
        if done % REPORT_STEPS == 0 or done == total:
            progress(done, total)
    for request in excerpt.requests:
        phases = [each for each in excerpt.phases(request.request) if _seen(each, excerpt)]
        yield from _request(request, phases, clock)
        yield from _flows(request, phases, clock)


def _seen(phase: Phase, excerpt: Excerpt) -> bool:
    """Whether a phase has not ended before the excerpt began."""
    return phase.last_step is None or phase.last_step >= excerpt.since


def _names(model: str) -> Iterator[TraceEvent]:
    yield _named("process_name", ENGINE, 0, f"engine: {model}")
    yield _named("process_name", REQUESTS, 0, "requests")
    yield _named("thread_name", ENGINE, STEPS, "steps")
    yield {"ph": "M", "name": "thread_sort_index", "pid": ENGINE, "tid": STEPS, "args": {"sort_index": 0}}


def _named(kind: str, process: int, thread: int, name: str) -> TraceEvent:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}


def _step(row: StepRow, start_ns: int) -> Iterator[TraceEvent]:
    yield _slice(f"step {row.step}", start_ns, row.total_ns, _step_args(row))
    for part, taken_ns in zip(_PARTS, (row.plan_ns, row.forward_ns, row.sample_ns, row.commit_ns), strict=True):
        if taken_ns:
            yield _slice(part, start_ns, taken_ns, {"step": row.step})
        start_ns += taken_ns


def _step_args(row: StepRow) -> TraceEvent:
    args: TraceEvent = {
        "step": row.step, "batch_size": len(row.works), "request_ids": [work.request for work in row.works],
        "num_tokens": row.tokens, "num_prefill_tokens": row.prefill_tokens,
        "num_decode_tokens": row.decode_tokens, "token_budget": row.budget,
    }  # fmt: skip
    return args if row.error is None else args | {"error": row.error}


def _slice(name: str, start_ns: int, taken_ns: int, args: TraceEvent) -> TraceEvent:
    return {
        "ph": "X", "name": name, "cat": "step", "pid": ENGINE, "tid": STEPS, "ts": start_ns / 1000,
        "dur": taken_ns / 1000, "args": args,
    }  # fmt: skip


def _counters(row: StepRow, before_ns: int, end_ns: int) -> Iterator[TraceEvent]:
    """The counts at the end of a step; tokens per second since the end of the one before."""
    taken_ns = max(1, end_ns - before_ns)
    values = {
        "KV blocks": {"owned": row.owned_blocks, "cached": row.cached_blocks, "free": row.free_blocks},
        "requests": {"running": row.running, "waiting": row.waiting, "preempted": row.preempted},
        "tokens per second": {"computed": round(row.tokens * 1e9 / taken_ns, 1)},
    }
    for name, args in values.items():
        yield {"ph": "C", "name": name, "pid": ENGINE, "ts": end_ns / 1000, "args": args}


def _request(request: RequestRow, phases: Iterable[Phase], clock: TraceClock) -> Iterator[TraceEvent]:
    """The request's whole life, and its phases nested in it, each up to where the next begins."""
    begin, end = clock.end_of(request.submitted_step), clock.end_of(clock.last_step)
    if request.finished_step is not None:
        end = max(begin, clock.end_of(request.finished_step))
    track = f"request {request.request}"
    yield _async("b", track, request, begin, _request_args(request))
    edges = [(phase, min(end, max(begin, _begin(phase, clock)))) for phase in phases]
    for (phase, start), (_, stop) in pairwise([*edges, (None, end)]):
        assert phase is not None
        yield _async("b", phase.phase, request, start, _phase_args(phase))
        yield _async("e", phase.phase, request, stop, {})
    yield _async("e", track, request, end, {})


def _begin(phase: Phase, clock: TraceClock) -> int:
    """A wait begins when the step before it ends; work begins with its step."""
    if phase.phase == "waiting":
        return clock.end_of(phase.first_step - 1)
    return clock.start_of(phase.first_step)


def _request_args(request: RequestRow) -> TraceEvent:
    return {
        "request": request.request, "num_prompt_tokens": request.prompt_tokens,
        "num_cached_tokens": request.cached_tokens, "num_output_tokens": request.output_tokens,
        "preemptions": request.preemptions, "finish_reason": request.finish_reason,
        "finish_detail": request.finish_detail,
    }  # fmt: skip


def _phase_args(phase: Phase) -> TraceEvent:
    args: TraceEvent = {"first_step": phase.first_step, "last_step": phase.last_step}
    if phase.phase == "prefill":
        args |= {"num_tokens": phase.tokens, "num_cached_tokens": phase.cached_tokens}
    return args


def _async(ph: str, name: str, request: RequestRow, time_ns: int, args: TraceEvent) -> TraceEvent:
    return {
        "ph": ph, "name": name, "cat": "request", "id": request.request, "pid": REQUESTS, "tid": 0,
        "ts": time_ns / 1000, "args": args,
    }  # fmt: skip


def _flows(request: RequestRow, phases: list[Phase], clock: TraceClock) -> Iterator[TraceEvent]:
    """An arrow from each step that preempted the request to the step that took it up again."""
    for preempted, resumed in pairwise(phases):
        seen = preempted.first_step >= clock.first_step
        if seen and preempted.phase == "preempted" and resumed.phase == "prefill":
            id_ = f"{request.request}/{preempted.number}"
            yield _flow("s", id_, request, clock.start_of(preempted.first_step))
            yield _flow("f", id_, request, clock.start_of(resumed.first_step)) | {"bp": "e"}


def _flow(ph: str, id_: str, request: RequestRow, time_ns: int) -> TraceEvent:
    return {
        "ph": ph, "name": f"request {request.request} preempted", "cat": "preemption", "id": id_,
        "pid": ENGINE, "tid": STEPS, "ts": time_ns / 1000, "args": {"request": request.request},
    }  # fmt: skip
