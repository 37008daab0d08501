"""Rewinds, forks, and what a person forces: KV is right, the record folds, and tokens follow from tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import events as ev
from engine import keyframe
from engine.engine import Engine, StepFailedError
from engine.forking import ForkSpec
from engine.ids import request_of
from engine.kv.dropping import HeldBlockError
from engine.option_error import OptionError
from engine.params import EngineOptions, SamplingParams
from engine.rewinding import NotExactError
from engine.timeline import MemoryTimeline
from tests.scripted import ScriptedExecutor, expected_output, next_token, scripted_engine, slot_value, spec
from tests.test_bookkeeping import requests, setups

ACTIONS = ["step"] * 6 + ["fork", "rewind", "exact", "force"]


def engine_with_a_past(num_blocks: int, **setup: object) -> tuple[Engine, MemoryTimeline]:
    timeline = MemoryTimeline(num_blocks, EngineOptions(**setup))  # type: ignore[arg-type]
    return scripted_engine(num_blocks, timeline, timeline=timeline, **setup), timeline


def slots_of(tokens: Sequence[int]) -> list[int]:
    slots = [0]
    for token in tokens:
        slots.append(slot_value(slots[-1], token))
    return slots[1:]


def check_kv(engine: Engine) -> None:
    """Every slot that bookkeeping says is filled holds what its tokens make of it."""
    executor, state, size = engine._executor, engine.state, engine.state.blocks.block_size
    assert isinstance(executor, ScriptedExecutor)
    for request in state.requests.values():
        expected = slots_of(engine.tokens.tokens_of(request.id)[: request.computed])
        found = [executor.slots[request.table[p // size] * size + p % size] for p in range(request.computed)]
        assert found == expected
    for node in state.tree.nodes.values():
        for block in node.blocks:
            tokens = engine.tokens.tokens_of(request_of(state.blocks.writer[block]))
            start = state.blocks.index[block] * size
            assert executor.slots[block * size : (block + 1) * size] == slots_of(tokens)[start : start + size]


def check_tokens(engine: Engine, request: str, first_own: int) -> None:
    """From position `first_own` on each token is the one that follows those before it."""
    tokens = list(engine.tokens.tokens_of(request))
    slots, sample = slots_of(tokens), engine.tokens.asked(request).sample
    assert tokens[first_own:] == [next_token(slots[:p], sample) for p in range(first_own, len(tokens))]


@settings(max_examples=150, deadline=None)
@given(st.lists(requests, min_size=1, max_size=5), setups, st.integers(0, 20), st.data())
def test_random_rewinds_forks_and_force(batch, setup, slack, data) -> None:
    """With preemption and eviction: whatever a person does, tokens follow from tokens, and KV from both."""
    size = setup["block_size"]
    largest = max(-(-(len(p) + m + 4) // size) + n for p, m, n, _ in batch)
    engine, timeline = engine_with_a_past(largest + slack // size, **setup)
    for prompt, count, n, priority in batch:
        engine.submit(spec(prompt, count, n, priority))
    for action in data.draw(st.lists(st.sampled_from(ACTIONS), max_size=40)):
        act(engine, timeline, action, data)
        engine.state.check_invariants()
        check_kv(engine)
    engine.run(400)
    check_kv(engine)
    check_whole(engine, timeline)


def check_whole(engine: Engine, timeline: MemoryTimeline) -> None:
    """Every token is the one it must be, and what was said folds to the state."""
    said = list(timeline.events(engine.state.branch, -1, 10_000))
    forks = {event.request: event for event in said if isinstance(event, ev.Forked)}
    for request in engine.tokens._tokens:
        fork = forks.get(request)
        own = fork.at_position + len(fork.appended) if fork else 0
        check_tokens(engine, request, max(own, engine.tokens.prompt_tokens_of(request)))
    folded = timeline.at(engine.state.branch, engine.state.step)
    assert keyframe.pack(folded.state) == keyframe.pack(engine.state)


def act(engine: Engine, timeline: MemoryTimeline, action: str, data: st.DataObject) -> None:
    """Do one of ACTIONS."""
    if action == "step":
        engine.step()
    elif action == "fork":
        fork_somewhere(engine, data)
    elif action == "force":
        force_something(engine, data)
    elif engine.state.step:
        branch = data.draw(st.integers(0, timeline.last_branch()))
        rewind_somewhere(engine, timeline, branch, data, exact=action == "exact")


def fork_somewhere(engine: Engine, data: st.DataObject) -> None:
    parent = data.draw(st.sampled_from(sorted(engine.tokens._tokens)))
    tokens, prompt = engine.tokens.tokens_of(parent), engine.tokens.prompt_tokens_of(parent)
    at = data.draw(st.integers(0, len(tokens)))
    if at >= prompt:
        change = ForkSpec(parent, at, token=data.draw(st.integers(0, 5)))
    else:
        change = ForkSpec(parent, at, prompt_ids=(data.draw(st.integers(0, 5)), 1))
    engine.fork(change)


def force_something(engine: Engine, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["preempt", "evict", "policy"]))
    if kind == "preempt" and engine.state.running:
        engine.preempt(data.draw(st.sampled_from(sorted(engine.state.running))))
    elif kind == "evict":
        cached = [b for b in range(engine.state.blocks.num_blocks) if engine.state.blocks.state(b) == "cached"]
        if cached:
            with contextlib.suppress(HeldBlockError):
                engine.evict(data.draw(st.sampled_from(cached)))
    else:
        engine.set_policy(data.draw(st.sampled_from(["fcfs", "lpm"])))


def rewind_somewhere(
    engine: Engine, timeline: MemoryTimeline, branch: int, data: st.DataObject, *, exact: bool
) -> None:
    last = max(event.step for event in timeline.events(branch, -1, 10_000))
    step = data.draw(st.integers(0, last))
    before = timeline.state_at(branch, step)
    try:
        cost = engine.cost_of_rewind(step, branch, exact=exact)
    except NotExactError:
        return
    executed = engine._executor.writes.now
    assert engine.rewind(step, branch, exact=exact) == cost
    if not cost.recomputed_tokens and not cost.replayed_steps:
        assert engine._executor.writes.now == executed
    assert engine.state.branch == cost.branch
    before.branch = cost.branch
    assert keyframe.pack(before) == keyframe.pack(engine.state)


def test_kv_that_is_still_there_is_not_computed_again() -> None:
    engine, _ = engine_with_a_past(64, block_size=4)
    engine.submit(spec(range(9), 12))
    engine.run(8)
    assert engine.rewind(3).recomputed_tokens == 0
    engine.run()
    assert list(engine.tokens.tokens_of("1"))[9:] == expected_output(range(9), 12)


def test_only_overwritten_positions_are_computed_again() -> None:
    """Request 2 takes the blocks that request 1 gave back; going back needs them for 1 again."""
    engine, _ = engine_with_a_past(4, block_size=4, prefix_cache=False)
    engine.submit(spec([1] * 7, 3))
    engine.run()
    engine.submit(spec([2] * 10, 2))
    engine.run()
    rewound = engine.rewind(2)
    assert 0 < rewound.recomputed_tokens <= 8
    check_kv(engine)
    engine.run()
    assert list(engine.tokens.tokens_of("1"))[7:] == expected_output([1] * 7, 3)


def test_an_exact_rewind_runs_the_recorded_steps_again() -> None:
    engine, _ = engine_with_a_past(4, block_size=4, prefix_cache=False)
    engine.submit(spec([1] * 7, 3))
    engine.run()
    engine.submit(spec([2] * 10, 2))
    engine.run()
    rewound = engine.rewind(2, exact=True)
    assert (rewound.replayed_from, rewound.replayed_steps) == (0, 2)
    check_kv(engine)


def test_a_fork_shares_the_blocks_of_its_parent_and_copies_what_it_writes_to() -> None:
    engine, timeline = engine_with_a_past(64, block_size=4)
    engine.submit(spec(range(10), 20))
    engine.run(6)
    parent = engine.state.requests["1"]
    fork = engine.fork(ForkSpec("1", 13, token=7))
    engine.step()
    forked = engine.state.requests[fork]
    assert (forked.parent, forked.cached_tokens) == ("1", 13)
    assert forked.table[:3] == parent.table[:3]
    assert forked.table[3] != parent.table[3]
    assert any(isinstance(event, ev.Inherited) for event in timeline._said)
    engine.run()
    tokens = list(engine.tokens.tokens_of(fork))
    assert tokens[:13] == list(engine.tokens.tokens_of("1"))[:13]
    assert tokens[13] == 7
    assert tokens[14:] == expected_output(tokens[:14], 20 - 4)
    check_tokens(engine, "1", 10)


def test_a_fork_without_a_change_repeats_its_parent() -> None:
    engine, _ = engine_with_a_past(64, block_size=4)
    engine.submit(spec(range(10), 9))
    engine.run()
    fork = engine.fork(ForkSpec("1", 12, params=SamplingParams(max_tokens=9)))
    engine.run()
    assert list(engine.tokens.tokens_of(fork)) == list(engine.tokens.tokens_of("1"))


@pytest.mark.parametrize(
    ("fork", "problem"),
    [
        (ForkSpec("9", 3), "there is no request 9"),
        (ForkSpec("1", 99, token=1), "position is 99: request 1 has 15 tokens; fork at 0 to 15"),
        (ForkSpec("1", 3, token=1), "it is in the prompt"),
        (ForkSpec("1", 12, token=51), "token is 51: the vocabulary has 50"),
        (ForkSpec("1", 12, prompt_ids=(1,)), "10 prompt tokens"),
        (ForkSpec("1", 0, prompt_ids=()), "at least one token"),
    ],
)
def test_a_fork_that_makes_no_sense_is_refused_in_one_line(fork: ForkSpec, problem: str) -> None:
    engine, timeline = engine_with_a_past(64, block_size=4)
    engine.submit(spec(range(10), 5))
    engine.run()
    said = len(timeline._said)
    with pytest.raises(OptionError, match=problem):
        engine.fork(fork)
    assert len(timeline._said) == said


def test_going_back_needs_a_record_and_a_step_that_was() -> None:
    with pytest.raises(OptionError, match="keeps no record"):
        scripted_engine(8).rewind(0)
    engine, _ = engine_with_a_past(8)
    for exact in (False, True):
        with pytest.raises(OptionError, match="there is no step 3 in branch 0"):
            engine.rewind(3, exact=exact)
    with pytest.raises(OptionError, match="there is no branch 4"):
        engine.rewind(0, 4)


def test_nothing_is_changed_while_a_step_is_under_way() -> None:
    engine, _ = engine_with_a_past(8)
    engine.submit(spec(range(3), 5))
    begun = engine.begin()
    abort, rewind, preempt = partial(engine.abort, "1"), partial(engine.rewind, 0), partial(engine.preempt, "1")
    for action in (engine.begin, abort, rewind, preempt):
        with pytest.raises(RuntimeError, match="step 1 is under way"):
            action()
    engine.abandon()
    assert engine.state.requests["1"].state == "WAITING"
    assert begun.plan.step == 1
    engine.run()
    assert list(engine.tokens.tokens_of("1"))[3:] == expected_output(range(3), 5)


def test_a_step_that_was_given_up_is_no_failure_of_its_requests() -> None:
    """A request ends when its steps fail twice, and this one failed once."""
    engine, _ = engine_with_a_past(8)
    engine.submit(spec(range(3), 5))
    engine.begin()
    engine.abandon()
    executor = engine.executor
    assert isinstance(executor, ScriptedExecutor)
    executor.fault_at_choice = ValueError("once")
    with pytest.raises(StepFailedError):
        engine.step()
    executor.fault_at_choice = None
    engine.run()
    assert list(engine.tokens.tokens_of("1"))[3:] == expected_output(range(3), 5)
