"""Random runs of the scripted engine as lists of events, and what follows from those step by step."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from hypothesis import strategies as st

from engine import events as ev
from engine.engine import Engine, StepFailedError
from engine.execution import DetailsOf
from engine.forking import ForkSpec
from engine.params import EngineOptions, OptionError
from engine.state import RequestState, State
from engine.tokens import TokenLog
from sessions.explain_facts import Life
from sessions.explain_fold import Gatherer
from tests.scripted import ScriptedExecutor, scripted_engine, spec
from tests.test_bookkeeping import requests, setups

PHASE = {
    RequestState.WAITING: "queue", RequestState.PREEMPTED: "preempted", RequestState.PREFILLING: "prefill",
    RequestState.RUNNING: "decode",
}  # fmt: skip


class Kept:
    """A sink that keeps every event."""

    def __init__(self) -> None:
        self.events: list[ev.Event] = []

    def record(self, events: Sequence[ev.Event]) -> None:
        self.events.extend(events)

    def commit(self, events: Sequence[ev.Event], details: DetailsOf | None) -> None:
        self.record(events)

    def capture(self, tensors: object) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests with the steps after which they come, and steps after which somebody is aborted or fails."""

    arrivals: list[tuple[tuple[list[int], int, int, int], int]]
    setup: dict[str, object]
    slack: int
    aborts: dict[int, int] = field(default_factory=dict)  # step -> which of the live ones
    preempts: dict[int, int] = field(default_factory=dict)
    forks: dict[int, int] = field(default_factory=dict)
    faults: frozenset[int] = frozenset()

    @property
    def num_blocks(self) -> int:
        """Enough for the largest request, and little more."""
        size = int(str(self.setup["block_size"]))
        return max(-(-(len(p) + m) // size) + n - 1 for (p, m, n, _), _ in self.arrivals) + self.slack // size

    @property
    def options(self) -> EngineOptions:
        return EngineOptions(**self.setup)  # type: ignore[arg-type]


arrivals = st.lists(st.tuples(requests, st.integers(0, 12)), min_size=1, max_size=8)
somebody = st.dictionaries(st.integers(0, 30), st.integers(0, 9), max_size=2)
workloads = st.builds(Workload, arrivals, setups, st.integers(0, 40), somebody, somebody, somebody)
undisturbed = st.builds(Workload, arrivals, setups, st.integers(0, 40))
failing = st.builds(
    Workload, arrivals, setups, st.integers(0, 40), somebody, faults=st.frozensets(st.integers(1, 40), max_size=4)
)


def run(workload: Workload, **changes: object) -> list[ev.Event]:
    """What the engine says of a workload, under its setup or a changed one."""
    kept = Kept()
    setup = {**workload.setup, **changes}
    blocks = int(str(setup.pop("num_blocks", workload.num_blocks)))
    engine = scripted_engine(blocks, kept, **setup)
    executor = engine._executor
    assert isinstance(executor, ScriptedExecutor)
    pending = sorted(workload.arrivals, key=lambda arrival: arrival[1])
    while pending or engine.busy:
        while pending and (pending[0][1] <= engine.state.step or not engine.busy):
            (prompt, count, n, priority), _ = pending.pop(0)
            engine.submit(spec(prompt, count, n, priority))
        executor.fault = _fault if engine.state.step + 1 in workload.faults else lambda: None
        with contextlib.suppress(StepFailedError):
            engine.step()
        _interfere(engine, workload)
    return kept.events


def _fault() -> None:
    raise RuntimeError("injected")


def _interfere(engine: Engine, workload: Workload) -> None:
    step, state = engine.state.step, engine.state
    if step in workload.aborts and state.requests:
        engine.abort(sorted(state.requests)[workload.aborts[step] % len(state.requests)])
    if step in workload.preempts and state.running:
        engine.preempt(sorted(state.running)[workload.preempts[step] % len(state.running)])
    if step in workload.forks and state.requests:
        parent = sorted(state.requests)[workload.forks[step] % len(state.requests)]
        with contextlib.suppress(OptionError):  # where it has no token yet, or there is no room
            engine.fork(ForkSpec(parent, len(engine.tokens.tokens_of(parent)) - 1, token=step % 5))


def gathered(events: Sequence[ev.Event], workload: Workload) -> tuple[Gatherer, list[Life]]:
    tokens = TokenLog()
    for event in events:
        tokens.apply(event)
    state = State.at_start(workload.num_blocks, workload.options)
    gatherer = Gatherer(state, tokens)
    for event in events:
        gatherer.take(event)
    return gatherer, gatherer.lives()


@dataclass(slots=True)
class Observed:
    """What is seen of each request at each step, counted without any notion of intervals."""

    waited: Counter[tuple[str, str]] = field(default_factory=Counter)  # by request and code
    behind: Counter[tuple[str, str]] = field(default_factory=Counter)  # by request and who was first
    phases: Counter[tuple[str, str]] = field(default_factory=Counter)
    computed: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    peak_blocks: int = 0


def observe(events: Sequence[ev.Event], workload: Workload) -> Observed:
    """Stop after the plan of every step and look at every live request."""
    seen, had = Observed(), dict[str, set[int]]()
    state = State.at_start(workload.num_blocks, workload.options)
    for _, of_step in groupby(events, key=lambda event: event.step):
        planned = False
        for event in of_step:
            if not planned and isinstance(event, ev.Computed | ev.StepCommitted | ev.StepFailed):
                planned = True
                _look(state, seen)
            _note_kv(state, event, seen, had)
            if isinstance(event, ev.StepFailed):
                seen.failed.update(work.request for work in state.batch)
            state.apply(event)
            for request in state.requests.values():
                had.setdefault(request.id, set()).update(range(request.computed))
    return seen


def _look(state: State, seen: Observed) -> None:
    scheduled = {work.request for work in state.batch}
    fronts = [r.id for r in state.requests.values() if r.leader is None and _reason(r) not in NOT_FIRST]
    for request in state.requests.values():
        seen.phases[request.id, PHASE[request.state]] += 1
        if request.id not in scheduled:
            seen.waited[request.id, _reason(request)] += 1
            if _reason(request) == "behind_older":
                [front] = [id_ for id_ in fronts if id_ not in scheduled and id_ not in state.running]
                seen.behind[request.id, front] += 1
    seen.peak_blocks = max(seen.peak_blocks, sum(count > 0 for count in state.blocks.ref_count))


NOT_FIRST = ("behind_older", "awaits_prefill", "preempted")


def _reason(request: object) -> str:
    wait = getattr(request, "wait", None)
    return "preempted" if wait is None else str(wait.__struct_config__.tag)


def _note_kv(state: State, event: ev.Event, seen: Observed, had: dict[str, set[int]]) -> None:
    if isinstance(event, ev.Computed):
        for work in event.batch:
            positions = set(range(work.start, work.stop))
            seen.computed[work.request] += len(positions)
            seen.again[work.request] += len(positions & had[work.request])


def cached_sequences(state: State, tokens: TokenLog) -> Iterator[list[int]]:
    """Every token sequence whose KV is in the pool: the paths of the tree, and the tables of live requests."""
    from engine.kv.prefix import tokens_in

    for node in state.tree.nodes.values():
        path = [block for part in reversed(list(state.tree.path(node.id))) for block in part.blocks]
        yield [token for block in path for token in tokens_in(state, tokens, block)]
    for request in state.running.values():
        yield list(tokens.tokens_of(request.id))[: request.computed]
