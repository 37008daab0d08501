"""Dropping blocks keeps the books: tables with holes, the tree, preemption, forks and going back."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import events as ev
from engine import keyframe
from engine.engine import Engine
from engine.forking import ForkSpec
from engine.kv.holes import HOLE
from engine.plugs_kv import Drop, GuardedKVPolicy, KVOfRequest
from engine.reasons import ByPolicy, LeastAttended, OutsideWindow
from engine.state import State
from engine.timeline import MemoryTimeline
from engine.tokens import TokenLog
from plugins.contract import Plugin
from plugins.errors import PluginError
from plugins.keeping import h2o, sinks, snapkv
from plugins.loading import load_plugins
from plugins.testing import provided
from tests.scripted import (
    ScriptedExecutor,
    dropped_at,
    expected_output,
    next_token,
    scripted_engine,
    slot_value,
    spec,
)
from tests.test_bookkeeping import Recorded, requests, setups


class Haphazard:
    """Drops what looks random, of every other request; never the last full one: the next row goes on from it."""

    name = "haphazard"
    weighs = 0

    def drop_blocks(self, kv: KVOfRequest) -> Drop | None:
        if int(kv.request.partition(".")[0]) % 2:
            return None
        out = [i for i in kv.kept[:-1] if zlib.crc32(f"{kv.request} {kv.computed} {i}".encode()) % 3 == 0]
        return Drop(tuple(out)) if out else None


def with_policy(engine: Engine, policy: object) -> Engine:
    engine.plugs.kv_policy = GuardedKVPolicy("test", policy)  # type: ignore[arg-type]
    return engine


def policy_of(plugin: Plugin, arguments: str) -> object:
    (made,) = provided(plugin, arguments)
    return made


def reference(log: TokenLog, request: str, size: int) -> list[int]:
    """What an uninterrupted request would have been given, going without what its drops say."""
    tokens, prompt = log.tokens_of(request), log.prompt_tokens_of(request)
    slots: list[int] = []
    output: list[int] = []
    for position, token in enumerate(tokens):
        holes = dropped_at(log.drops.at(request, position), position)
        slots.append(slot_value(slots[-1] if slots else 0, token, holes))
        if prompt - 1 <= position < len(tokens) - 1:
            kept = [slot for at, slot in enumerate(slots) if at // size not in holes]
            output.append(next_token(kept, log.asked(request).sample))
    return output


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(requests, st.integers(0, 12)), min_size=1, max_size=8), setups, st.integers(0, 40),
)  # fmt: skip
def test_dropped_blocks_are_never_read_and_never_shared(arrivals, setup, slack) -> None:
    """Requests that lost blocks go without exactly those; all others get what they get without any policy."""
    size = setup["block_size"]
    largest = max(-(-(len(p) + m) // size) + n - 1 for (p, m, n, _), _ in arrivals)
    sink = Recorded()
    engine = with_policy(scripted_engine(largest + slack // size, sink, **setup), Haphazard())
    pending = sorted(arrivals, key=lambda arrival: arrival[1])
    submitted: list[tuple[str, list[int], int, int]] = []
    preempted: set[str] = set()
    steps = 0
    while pending or engine.busy:
        while pending and (pending[0][1] <= steps or not engine.busy):
            (prompt, count, n, priority), _ = pending.pop(0)
            ids = engine.submit(spec(prompt, count, n, priority))
            submitted += [(id_, prompt, count, sample) for sample, id_ in enumerate(ids)]
        step = engine.step()
        assert step is not None
        preempted |= {event.request for event in step.plan.events if isinstance(event, ev.Preempted)}
        steps += 1
        engine.state.check_invariants()
        assert steps < 3000, "the schedule makes no progress"
    for id_, prompt, count, sample in submitted:
        output = list(engine.tokens.tokens_of(id_))[len(prompt) :]
        if int(id_.partition(".")[0]) % 2:
            assert output == expected_output(prompt, count, sample)
        elif id_ not in preempted:
            assert output == reference(engine.tokens, id_, size)
    folded = sink.fold(engine.state.blocks.num_blocks, size, setup["policy"])
    assert keyframe.pack(folded) == keyframe.pack(engine.state)


def test_a_state_with_holes_comes_back_from_its_keyframe() -> None:
    engine = with_policy(scripted_engine(32, block_size=2), Haphazard())
    for prompt in ([1] * 4, [2] * 11):
        engine.submit(spec(prompt, 12))
    engine.run(8)
    assert engine.state.requests["2"].dropped
    again = keyframe.unpack(keyframe.pack(engine.state))
    again.check_invariants()
    assert again.requests == engine.state.requests
    assert engine.scheduler.plan(again) == engine.scheduler.plan(engine.state)


def test_a_copy_of_the_state_is_independent() -> None:
    engine = with_policy(scripted_engine(32, block_size=2), policy_of(sinks, "window:4,sinks:0"))
    engine.submit(spec([1] * 8, 20))
    engine.run(3)
    twin = engine.state.copy()
    before = dict(twin.requests["1"].dropped)
    engine.run(6)
    assert twin.requests["1"].dropped == before != engine.state.requests["1"].dropped


@pytest.mark.parametrize("size", [1, 2, 4])
def test_sinks_keeps_the_first_and_the_latest(size: int) -> None:
    engine = with_policy(scripted_engine(64, block_size=size), policy_of(sinks, "window:6,sinks:3"))
    engine.submit(spec(range(9), 30))
    while engine.busy:
        engine.step()
        live = engine.state.requests.get("1")
        if live is None:
            break
        kept = {i for i, block in enumerate(live.table) if block != HOLE}
        read = set(range(3)) | set(range(max(0, live.computed - 5), live.computed))
        assert kept == {position // size for position in read}


def test_a_pool_of_the_promised_size_carries_a_long_text() -> None:
    """The tree holds on to nothing that the promise does not count."""
    size, window, first = 4, 16, 4
    blocks = -(-first // size) + -(-(window - 1) // size) + 1
    engine = with_policy(
        scripted_engine(blocks, block_size=size), policy_of(sinks, f"window:{window},sinks:{first}")
    )
    engine.submit(spec([1, 2, 3], 500))
    engine.run()
    assert len(engine.tokens.tokens_of("1")) == 503
    assert engine.state.totals.preemptions == 0


def test_a_thinned_request_that_is_longer_than_the_pool_ends_when_it_loses_its_blocks() -> None:
    """It could only come back whole; whoever waits behind it does not wait for ever."""
    engine = with_policy(scripted_engine(8, block_size=4), policy_of(sinks, "window:8,sinks:4"))
    engine.submit(spec([1, 2, 3], 200))
    engine.run(60)
    engine.preempt("1")
    engine.submit(spec([5] * 6, 4))
    step = engine.step()
    assert step is not None
    (ended,) = [event for event in step.plan.events if isinstance(event, ev.Finished)]
    assert (ended.request, ended.reason, ended.detail) == ("1", "length", "not_resumable")
    assert (ended.need, ended.limit) == (16, 8)
    engine.state.check_invariants()
    assert engine.run(20) < 20
    assert list(engine.tokens.tokens_of("2"))[6:] == expected_output([5] * 6, 4)


def test_a_window_as_long_as_the_text_changes_nothing() -> None:
    plain, kept = Recorded(), Recorded()
    for sink, policy in ((plain, None), (kept, policy_of(sinks, "window:40,sinks:0"))):
        engine = scripted_engine(20, sink, block_size=2, token_budget=7)
        engine = engine if policy is None else with_policy(engine, policy)
        for prompt in (range(12), [*range(8), 3, 3], [4] * 15):
            engine.submit(spec(prompt, 25))
        engine.run()
    timeless = [[line for line in sink.lines if b"step_committed" not in line] for sink in (plain, kept)]
    assert timeless[0] == timeless[1]


def test_shared_blocks_that_one_dropped_stay_with_the_others() -> None:
    engine = with_policy(scripted_engine(64, block_size=2), Haphazard())
    engine.submit(spec(range(12), 20))
    engine.run(2)
    engine.submit(spec(range(12), 20))
    engine.run(1)
    one, two = (engine.state.requests[id_] for id_ in "12")
    assert HOLE not in one.table
    assert HOLE in two.table[:5]
    for index, block in enumerate(one.table[:5]):
        assert engine.state.blocks.ref_count[block] == (1 if two.table[index] == HOLE else 2)
    engine.run()
    assert list(engine.tokens.tokens_of("1"))[12:] == expected_output(range(12), 20)


def test_what_is_computed_after_a_drop_never_enters_the_tree() -> None:
    engine = with_policy(scripted_engine(64, block_size=2), policy_of(sinks, "window:5,sinks:2"))
    engine.submit(spec(range(6), 20))
    first_drop = None
    while (step := engine.step()) is not None:
        for event in step.results:
            if isinstance(event, ev.Dropped) and first_drop is None:
                first_drop = event.position
            if isinstance(event, ev.Cached) and first_drop is not None:
                assert (event.index + len(event.blocks)) * 2 <= first_drop
    assert first_drop is not None


def test_a_fork_starts_on_its_parents_holes_and_not_in_the_middle_of_one() -> None:
    engine = with_policy(scripted_engine(64, block_size=4), policy_of(sinks, "window:6,sinks:4"))
    engine.submit(spec(range(10), 30))
    engine.run(9)
    parent = engine.state.requests["1"]
    assert [i for i, block in enumerate(parent.table) if block == HOLE] == [1, 2]
    engine.plugs.kv_policy = None
    (inside,) = [engine.fork(ForkSpec("1", at_position=10, token=7))]
    (behind,) = [engine.fork(ForkSpec("1", at_position=17, token=7))]
    step = engine.step()
    assert step is not None
    told = {e.request: e for e in step.plan.events if isinstance(e, ev.Inherited | ev.PrefixMatched)}
    assert isinstance(told[behind], ev.Inherited)
    assert told[behind].blocks[1:3] == (HOLE, HOLE)
    assert told[behind].tokens == 17
    assert told[inside].tokens == 8
    engine.state.check_invariants()
    engine.run()
    assert list(engine.tokens.tokens_of(behind))[18:] == reference(engine.tokens, behind, 4)[8:]


@pytest.mark.parametrize("exact", [True, False])
def test_going_back_repeats_what_was_dropped(exact: bool) -> None:
    timeline = MemoryTimeline(14, scripted_engine(block_size=2).options)
    engine = scripted_engine(14, timeline, timeline=timeline, block_size=2, token_budget=9)
    with_policy(engine, policy_of(sinks, "window:5,sinks:2"))
    for prompt in (range(12), [3] * 9, [*range(8), 1]):
        engine.submit(spec(prompt, 25))
    engine.run()
    first = {id_: list(ids) for id_, ids in engine.tokens._tokens.items()}
    for step in (21, 3, 26, 12):
        engine.rewind(step, 0, exact=exact)
        engine.state.check_invariants()
        executor = engine.executor
        assert isinstance(executor, ScriptedExecutor)
        assert_slots(engine.state, engine.tokens, executor)
        engine.run()
        assert {id_: list(ids) for id_, ids in engine.tokens._tokens.items()} == first


def assert_slots(state: State, log: TokenLog, executor: ScriptedExecutor) -> None:
    """Every slot that a table still names holds what its row computed."""
    size = state.blocks.block_size
    for request in state.requests.values():
        value = 0
        for position, token in enumerate(log.tokens_of(request.id)[: request.computed]):
            value = slot_value(value, token, dropped_at(request.dropped, position))
            block = request.table[position // size]
            if block != HOLE:
                assert executor.slots[block * size + position % size] == value


# -- host files ----------------------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.tuples(requests, st.integers(0, 12)), min_size=2, max_size=8), setups, st.integers(0, 20),
    st.integers(1, 12), st.sets(st.integers(1, 60), max_size=4),
)  # fmt: skip
def test_tokens_do_not_depend_on_host_files(arrivals, setup, slack, files, losing) -> None:
    """Whatever is offloaded, read back, forgotten, or gone from its file: the reference's tokens."""
    size = setup["block_size"]
    largest = max(-(-(len(p) + m) // size) + n - 1 for (p, m, n, _), _ in arrivals)
    sink = Recorded()
    engine = scripted_engine(largest + slack // size, sink, **setup)
    engine.scheduler.host_blocks = files
    executor = engine.executor
    assert isinstance(executor, ScriptedExecutor)
    pending = sorted(arrivals * 2, key=lambda arrival: arrival[1])
    submitted: list[tuple[str, list[int], int, int]] = []
    steps = 0
    while pending or engine.busy:
        while pending and (pending[0][1] <= steps or not engine.busy):
            (prompt, count, n, priority), _ = pending.pop(0)
            ids = engine.submit(spec(prompt, count, n, priority))
            submitted += [(id_, prompt, count, sample) for sample, id_ in enumerate(ids)]
        if steps in losing:
            executor.files.clear()
        assert engine.step() is not None
        steps += 1
        engine.state.check_invariants()
        assert len(engine.state.offloaded) <= files
        if not losing:
            assert executor.files.keys() >= engine.state.offloaded.keys()
        assert steps < 3000, "the schedule makes no progress"
    for id_, prompt, count, sample in submitted:
        assert list(engine.tokens.tokens_of(id_))[len(prompt) :] == expected_output(prompt, count, sample)
    folded = sink.fold(engine.state.blocks.num_blocks, size, setup["policy"])
    assert keyframe.pack(folded) == keyframe.pack(engine.state)
    assert keyframe.unpack(keyframe.pack(folded)).offloaded == engine.state.offloaded


def offloading_engine(files: int, num_blocks: int = 8) -> tuple[Engine, ScriptedExecutor]:
    engine = scripted_engine(num_blocks, block_size=4)
    engine.scheduler.host_blocks = files
    executor = engine.executor
    assert isinstance(executor, ScriptedExecutor)
    return engine, executor


def test_what_is_read_back_counts_as_cached_and_enters_the_tree() -> None:
    engine, _ = offloading_engine(64)
    for prompt in (range(20), [7] * 20, [9] * 20):
        engine.submit(spec(prompt, 4))
        engine.run()
    assert engine.state.offloaded
    (again,) = engine.submit(spec(range(20), 4))
    step = engine.step()
    assert step is not None
    (loaded,) = [event for event in step.plan.events if isinstance(event, ev.Loaded)]
    assert (loaded.index, loaded.tokens) == (0, 16)
    assert engine.state.requests[again].cached_tokens == 16
    listed = {block for node in engine.state.tree.nodes.values() for block in node.blocks}
    assert set(loaded.blocks) <= listed
    assert engine.state.totals.loaded_blocks == 4


def test_the_file_used_longest_ago_makes_room() -> None:
    engine, executor = offloading_engine(5)
    for prompt in (range(20), [7] * 20, [9] * 20, [11] * 20):
        engine.submit(spec(prompt, 4))
        engine.run()
        assert len(engine.state.offloaded) <= 5
        assert executor.files.keys() == engine.state.offloaded.keys()


def test_a_file_that_is_gone_is_said_once_and_its_block_computed() -> None:
    engine, executor = offloading_engine(64)
    for prompt in (range(20), [7] * 20, [9] * 20):
        engine.submit(spec(prompt, 4))
        engine.run()
    executor.files.clear()
    (again,) = engine.submit(spec(range(20), 4))
    step = engine.step()
    assert step is not None
    lost = [event for event in step.results if isinstance(event, ev.OffloadLost)]
    assert [event.request for event in lost] == [again] * 4
    assert engine.state.offloaded.keys().isdisjoint({event.hash for event in lost})
    engine.run()
    assert list(engine.tokens.tokens_of(again))[20:] == expected_output(range(20), 4)


@pytest.mark.parametrize("exact", [True, False])
def test_going_back_knows_what_lay_in_files_then(exact: bool) -> None:
    timeline = MemoryTimeline(8, scripted_engine(block_size=4).options)
    engine = scripted_engine(8, timeline, timeline=timeline, block_size=4)
    engine.scheduler.host_blocks = 9
    for prompt in (range(20), [7] * 20, range(20), [9] * 20, [7] * 20):
        engine.submit(spec(prompt, 4))
        engine.run()
    first = {id_: list(ids) for id_, ids in engine.tokens._tokens.items()}
    assert engine.state.totals.loaded_blocks
    for step in (14, 3, 9):
        engine.rewind(step, 0, exact=exact)
        engine.state.check_invariants()
        assert engine.scheduler.host_blocks == 9
        engine.run()
        for id_, ids in engine.tokens._tokens.items():
            assert list(ids) == first[id_]


# -- what the policies choose --------------------------------------------------------------------------


def kv(computed: int, weights: Sequence[float], start: int = 0, prompt_tokens: int = 0) -> KVOfRequest:
    """Blocks of two tokens, all kept."""
    kept = tuple(range(computed // 2))
    return KVOfRequest("1", prompt_tokens, start, computed, 2, kept, dict(enumerate(weights)))


def drops(plugin: Plugin, arguments: str, given: KVOfRequest) -> Drop | None:
    made = policy_of(plugin, arguments)
    return GuardedKVPolicy("test", made).drop_blocks(given)  # type: ignore[arg-type]


def test_heavy_hitters_stay_and_the_reason_says_what_decided() -> None:
    given = kv(12, [5.0, 1.0, 3.0, 0.5, 9.0, 9.0])
    assert drops(h2o, "heavy:4,recent:4", given) == Drop((1, 3), LeastAttended((1.0, 0.5), 3.0, 4))
    assert drops(h2o, "heavy:8,recent:4", given) is None
    assert drops(h2o, "heavy:0,recent:1", given) == Drop(
        (0, 1, 2, 3, 4, 5), LeastAttended((5.0, 1.0, 3.0, 0.5, 9.0, 9.0), None, 0)
    )


def test_of_equal_blocks_the_later_stay() -> None:
    assert drops(h2o, "heavy:2,recent:3", kv(8, [1.0, 1.0, 1.0, 1.0])) == Drop(
        (0, 1), LeastAttended((1.0, 1.0), 1.0, 2)
    )


def test_the_prompt_is_compressed_once() -> None:
    at_the_end = kv(12, [5.0, 1.0, 3.0, 0.5, 9.0, 9.0], start=6, prompt_tokens=12)
    assert drops(snapkv, "keep:4,observe:4", at_the_end) == Drop((1, 3), LeastAttended((1.0, 0.5), 3.0, 4))
    later = kv(13, [5.0, 1.0, 3.0, 0.5, 9.0, 9.0], start=12, prompt_tokens=12)
    assert drops(snapkv, "keep:4,observe:4", later) is None
    pooled = drops(snapkv, "keep:4,observe:4,kernel:3", at_the_end)
    assert pooled == Drop((2, 3), LeastAttended((3.0, 3.0), 5.0, 4))
    with pytest.raises(PluginError, match="kernel is 2: give an odd number"):
        load_plugins(["snapkv=kernel:2"])


@pytest.mark.parametrize(
    "wrong",
    [Drop((9,)), Drop((0, 0)), Drop((0,), LeastAttended((), None, 1)), (0,), Drop((0,), reason="because")],
    ids=["not there", "twice", "no scores", "no drop", "no reason"],
)
def test_a_policy_that_breaks_its_contract_is_disabled(wrong: object) -> None:
    class Wrong(Haphazard):
        def drop_blocks(self, kv: KVOfRequest) -> Drop | None:
            return wrong if kv.computed == 8 else None  # type: ignore[return-value]

    sink = Recorded()
    engine = with_policy(scripted_engine(64, sink, block_size=2), Wrong())
    engine.submit(spec([1] * 5, 9))
    engine.run()
    (told,) = [event for event in map(ev.decode, sink.lines) if isinstance(event, ev.PluginDisabled)]
    assert (told.hook, told.why, told.request, told.position) == ("drop_blocks", "broke_contract", "1", 8)
    assert list(engine.tokens.tokens_of("1"))[5:] == expected_output([1] * 5, 9)


def test_a_run_has_one_policy() -> None:
    with pytest.raises(PluginError, match="both sinks and h2o bring a KV policy: use one of them"):
        load_plugins(["sinks", "h2o"])


def test_reasons_are_those_of_the_policies() -> None:
    made = drops(sinks, "window:3,sinks:2", kv(9, []))
    assert made == Drop((1, 2), OutsideWindow(2, 3))
    assert Drop((1,)).reason == ByPolicy()
