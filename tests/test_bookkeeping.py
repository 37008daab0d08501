"""Any schedule gives the tokens of the reference, balances its blocks, and folds back from its events."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine import commit, keyframe
from engine import events as ev
from engine.engine import Engine, StepFailedError
from engine.execution import DetailsOf
from engine.kv import radix
from engine.params import Policy
from engine.state import State
from tests.scripted import ScriptedExecutor, expected_output, scripted_engine, spec


class Recorded:
    """A sink that keeps every event as its line of JSON."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def record(self, events: Sequence[ev.Event]) -> None:
        self.lines.extend(map(ev.encode, events))

    def commit(self, events: Sequence[ev.Event], details: DetailsOf | None) -> None:
        self.record(events)

    def close(self) -> None:
        pass

    def fold(self, num_blocks: int, block_size: int, policy: Policy = "fcfs") -> State:
        state = State(num_blocks, block_size, policy=policy)
        state.apply_all([ev.decode(line) for line in self.lines])
        return state


PREFIXES = [list(range(10)), [*range(10), 7, 7, 7, 7], [3] * 17]


@st.composite
def prompts(draw: st.DrawFn) -> list[int]:
    """Prompts that often share a prefix, and sometimes a whole prompt."""
    prefix = draw(st.sampled_from(PREFIXES))
    return prefix[: draw(st.integers(1, len(prefix)))] + draw(st.lists(st.integers(0, 5), max_size=12))


requests = st.tuples(prompts(), st.integers(1, 14), st.sampled_from([1, 1, 1, 2, 3]), st.integers(0, 2))
setups = st.fixed_dictionaries(
    {
        "block_size": st.sampled_from([1, 2, 3, 4, 16]),
        "token_budget": st.integers(1, 40),
        "max_running": st.integers(3, 8),
        "chunked_prefill": st.booleans(),
        "prefix_cache": st.booleans(),
        "policy": st.sampled_from(["fcfs", "lpm"]),
    }
)


def outputs(engine: Engine, ids: Sequence[str], prompt: Sequence[int]) -> list[list[int]]:
    return [list(engine.tokens.tokens_of(id_))[len(prompt) :] for id_ in ids]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(requests, st.integers(0, 12)), min_size=1, max_size=8),
    setups,
    st.integers(0, 40),
    st.data(),
)
def test_tokens_do_not_depend_on_the_schedule(arrivals, setup, slack, data) -> None:
    """Whatever the batch, chunks, blocks, cache, policy, preemption, n and aborts: the reference's tokens."""
    size = setup["block_size"]
    largest = max(-(-(len(p) + m) // size) + n - 1 for (p, m, n, _), _ in arrivals)
    sink = Recorded()
    engine = scripted_engine(largest + slack // size, sink, **setup)
    pending = sorted(arrivals, key=lambda arrival: arrival[1])
    submitted: list[tuple[list[str], list[int], int]] = []
    aborted: set[str] = set()
    steps = 0
    while pending or engine.busy:
        while pending and (pending[0][1] <= steps or not engine.busy):
            (prompt, count, n, priority), _ = pending.pop(0)
            submitted.append((engine.submit(spec(prompt, count, n, priority)), prompt, count))
        step = engine.step()
        steps += 1
        engine.state.check_invariants()
        assert steps < 3000, "the schedule makes no progress"
        assert step is not None
        gave_way = any(isinstance(event, ev.Preempted | ev.Finished) for event in step.plan.events)
        assert step.plan.batch or gave_way, "a step for nothing"
        if engine.busy and data.draw(st.integers(0, 30)) == 0:
            victim = data.draw(st.sampled_from(sorted(engine.state.requests)))
            engine.abort(victim)
            aborted.add(victim)
            engine.state.check_invariants()
    for ids, prompt, count in submitted:
        for sample, (id_, output) in enumerate(zip(ids, outputs(engine, ids, prompt), strict=True)):
            reference = expected_output(prompt, count, sample)
            assert output == (reference[: len(output)] if id_ in aborted else reference)
    folded = sink.fold(engine.state.blocks.num_blocks, size, setup["policy"])
    assert keyframe.pack(folded) == keyframe.pack(engine.state)


@example([(p, 1, 1, 0) for p in ([0], [3, 7], [0, 7, 9])], {"block_size": 1}, 1)
@settings(max_examples=100, deadline=None)
@given(st.lists(requests, min_size=2, max_size=8), setups, st.integers(1, 3))
def test_colliding_hashes_cost_hits_and_never_tokens(batch, setup, hashes) -> None:
    """Nothing is taken from the cache, or hung below another's blocks, on the word of a hash alone."""

    def weak(previous: int, tokens: Sequence[int]) -> int:
        return 1 + (previous + sum(tokens)) % hashes

    with pytest.MonkeyPatch.context() as patch:
        for module in (radix, commit):
            patch.setattr(module, "chain_hash", weak)
        size = setup["block_size"]
        engine = scripted_engine(max(-(-(len(p) + m) // size) + n - 1 for p, m, n, _ in batch) + 20, **setup)
        for prompt, count, n, priority in batch:
            engine.submit(spec(prompt, count, n, priority))
            engine.run(len(prompt) // 2)
            engine.state.check_invariants()
        engine.run()
        engine.state.check_invariants()
        again = [(engine.submit(spec(p, m, n, q)), p, m) for p, m, n, q in batch]
        engine.run()
    for made, prompt, count in again:
        expected = [expected_output(prompt, count, sample) for sample in range(len(made))]
        assert outputs(engine, made, prompt) == expected


@settings(max_examples=60, deadline=None)
@given(
    st.lists(requests, min_size=1, max_size=6), setups, st.integers(1, 30), st.integers(0, 6),
    st.sampled_from([1, 3, keyframe.PAGE]),
)  # fmt: skip
def test_a_keyframe_continues_like_the_state_it_was_taken_of(batch, setup, at, slack, page) -> None:
    size = setup["block_size"]
    blocks = max(-(-(len(p) + m) // size) + n for p, m, n, _ in batch) + slack
    sink = Recorded()
    engine = scripted_engine(blocks, sink, **setup)
    for prompt, count, n, priority in batch:
        engine.submit(spec(prompt, count, n, priority))
    engine.run(at)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyframe, "PAGE", page)
        restored = keyframe.unpack(keyframe.pack(engine.state))
    restored.check_invariants()
    assert keyframe.pack(restored) == keyframe.pack(engine.state)
    seen = len(sink.lines)
    plan = engine.scheduler.plan(restored)
    assert plan == engine.scheduler.plan(engine.state)
    engine.run()
    restored.apply_all([ev.decode(line) for line in sink.lines[seen:]])
    assert keyframe.pack(restored) == keyframe.pack(engine.state)


@settings(max_examples=60, deadline=None)
@given(st.lists(requests, min_size=1, max_size=6), setups, st.sets(st.integers(1, 40), max_size=5))
def test_a_failed_step_leaves_no_false_prefix_hit(batch, setup, failing) -> None:
    """A step that raises after it wrote garbage is undone; every request still gets the reference's tokens."""
    size = setup["block_size"]
    blocks = max(-(-(len(p) + m) // size) + n for p, m, n, _ in batch) + 6
    sink = Recorded()
    engine = scripted_engine(blocks, sink, **setup)
    executor = engine._executor
    assert isinstance(executor, ScriptedExecutor)
    submitted = [(engine.submit(spec(p, m, n, q)), p, m) for p, m, n, q in batch]
    ended: set[str] = set()
    while engine.busy:
        executor.fault = _fault(executor, engine) if engine.state.step + 1 in failing else lambda: None
        before = set(engine.state.requests)
        try:
            engine.step()
        except StepFailedError:
            ended |= before - set(engine.state.requests)
        engine.state.check_invariants()
    for ids, prompt, count in submitted:
        for sample, (id_, output) in enumerate(zip(ids, outputs(engine, ids, prompt), strict=True)):
            reference = expected_output(prompt, count, sample)
            assert output == (reference[: len(output)] if id_ in ended else reference)
    assert keyframe.pack(sink.fold(blocks, size, setup["policy"])) == keyframe.pack(engine.state)


def _fault(executor: ScriptedExecutor, engine: Engine):
    def fault() -> None:
        for work in engine.state.batch:
            for block in engine.state.requests[work.request].table[work.start // executor.block_size :]:
                for offset in range(executor.block_size):
                    executor.slots[block * executor.block_size + offset] = 49
        raise RuntimeError("injected")

    return fault


def test_a_request_that_fails_again_before_its_next_token_ends() -> None:
    """Its first chunk computes well every time: only a token is progress."""
    engine = scripted_engine(16, block_size=4, token_budget=3, prefix_cache=False)
    executor = engine._executor
    assert isinstance(executor, ScriptedExecutor)
    executor.fault_at_choice = RuntimeError("no such logit")
    engine.submit(spec(range(9), 4))
    failures = 0
    for _ in range(20):
        try:
            if engine.step() is None:
                break
        except StepFailedError:
            failures += 1
    assert failures == 2
    assert not engine.busy


def test_a_request_outlives_failures_with_a_token_in_between() -> None:
    engine = scripted_engine(16, block_size=4)
    executor = engine._executor
    assert isinstance(executor, ScriptedExecutor)
    ids = engine.submit(spec([1] * 6, 8))
    while engine.busy:
        executor.fault_at_choice = RuntimeError("now and then") if engine.state.step % 3 == 0 else None
        with contextlib.suppress(StepFailedError):
            engine.step()
    assert outputs(engine, ids, [1] * 6) == [expected_output([1] * 6, 8)]


@pytest.mark.parametrize(("culprit", "left"), [("1", ["2"]), ("9", ["1", "2"])])
def test_a_failure_that_names_a_request_ends_that_one(culprit: str, left: list[str]) -> None:
    """A name that is not in the batch helps nobody: then two failures in a row end all of it."""
    engine = scripted_engine(16, block_size=4)
    executor = engine._executor
    assert isinstance(executor, ScriptedExecutor)
    executor.fault_at_choice = RuntimeError("too long")
    executor.fault_at_choice.request_id = culprit  # type: ignore[attr-defined]
    for token in (1, 2):
        engine.submit(spec([token], 4))
    with pytest.raises(StepFailedError):
        engine.step()
    assert list(engine.state.requests) == left
    with pytest.raises(StepFailedError):
        engine.step()
    assert not engine.busy


def test_an_interrupted_step_is_rolled_back_and_recorded() -> None:
    """Nothing may be left half done: a later plan would take a block that was never copied for one that was."""
    sink = Recorded()
    engine = scripted_engine(16, sink, block_size=4)
    executor = engine._executor
    assert isinstance(executor, ScriptedExecutor)
    ids = engine.submit(spec([1] * 6, 6, n=2))
    engine.step()
    executor.fault_at_choice = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        engine.step()
    engine.state.check_invariants()
    assert engine.state.batch == ()
    executor.fault_at_choice = None
    engine.run()
    assert outputs(engine, ids, [1] * 6) == [expected_output([1] * 6, 6, sample) for sample in range(2)]
    assert keyframe.pack(sink.fold(16, 4)) == keyframe.pack(engine.state)


def test_an_unfinished_step_folds_like_a_failed_one() -> None:
    sink = Recorded()
    engine = scripted_engine(16, sink, block_size=4)
    engine.submit(spec(range(9), 6))
    engine.run(2)
    engine.begin()
    folded = sink.fold(16, 4)
    folded.roll_back()
    folded.check_invariants()
    assert folded.requests["1"].table == []
    assert folded.requests["1"].state == "WAITING"
    assert folded.blocks.cached == 2


@pytest.mark.parametrize("count", [1, 5])
def test_a_lone_request_that_fills_the_pool_ends_with_length(count) -> None:
    engine = scripted_engine(2, Recorded(), block_size=4)
    engine.submit(spec([1] * 6, 50))
    finished = []
    while (step := engine.step()) is not None:
        finished += [e for e in [*step.plan.events, *step.results] if isinstance(e, ev.Finished)]
    assert [(e.reason, e.detail, e.output_tokens) for e in finished] == [("length", "kv_full", 3)]
