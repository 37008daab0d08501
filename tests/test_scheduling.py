"""Every decision of the scheduler carries its reason and the numbers that decided."""

from __future__ import annotations

from collections import Counter
from itertools import count as counted_from
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import events as ev
from engine.admission import LPM, MOST_COMPARED, MOST_OVERTAKING, Waits
from engine.engine import Engine
from engine.params import OptionError, RequestSpec, SamplingParams
from engine.reasons import (
    AfterPreemption,
    AwaitsPrefill,
    BehindOlder,
    MaxRunning,
    NeededBlocks,
    NoFreeBlocks,
    TokenBudgetSpent,
)
from tests.scripted import scripted_engine, spec


def waits(engine: Engine) -> dict[str, object]:
    return {request.id: request.wait for request in engine.state.requests.values() if request.wait}


def planned(engine: Engine, kind: type[ev.Event]) -> list[ev.Event]:
    step = engine.step()
    assert step is not None
    return [event for event in step.plan.events if isinstance(event, kind)]


def test_short_of_blocks_the_first_waits_with_its_numbers_and_the_rest_behind_it() -> None:
    engine = scripted_engine(6, block_size=4)
    for prompt in ([1] * 12, [2] * 16, [3]):
        engine.submit(spec(prompt, 3))
    engine.step()
    assert waits(engine) == {"2": NoFreeBlocks(4, 3, 0), "3": BehindOlder()}


@settings(max_examples=50)
@given(
    st.lists(st.lists(st.integers(0, 40), max_size=6), min_size=1, max_size=60),
    st.lists(st.integers(1, 3), min_size=1, max_size=20),
)
def test_under_lpm_nobody_is_overtaken_for_ever(coming: list[list[int]], served: list[int]) -> None:
    """Whatever comes, each turn: cached blocks of each arrival; and so many are served of it."""
    waiting: list[Waits] = []
    overtaken: Counter[int] = Counter()
    arrived = counted_from()
    for turn in range(400):
        for cached in coming[turn % len(coming)]:
            waiting.append(waits_with(next(arrived), cached))
        for first in LPM().order_waiting(waiting[:MOST_COMPARED])[: served[turn % len(served)]]:
            waiting.remove(first)
            overtaken.update(each.arrival for each in waiting if each.arrival < first.arrival)
    assert max(overtaken.values(), default=0) < MOST_OVERTAKING


def waits_with(arrival: int, cached: int) -> Waits:
    return Waits(str(arrival), 0, arrival, 400, 0, 0, lambda: cached)


def test_under_lpm_a_prompt_without_a_cached_prefix_is_served_while_others_with_one_keep_coming() -> None:
    engine = scripted_engine(64, block_size=8, policy="lpm", max_running=1)
    shared = list(range(24))
    engine.submit(spec([*shared, 1], 2))
    engine.run()
    (unlike,) = engine.submit(spec([7] * 20, 2))
    served = 0
    while unlike in engine.state.requests:
        engine.submit(spec([*shared, 2], 1))
        served += len(planned(engine, ev.Admitted))
    assert 100 < served <= MOST_OVERTAKING + 1


def test_the_token_budget_splits_a_prefill_into_chunks_and_makes_others_wait() -> None:
    engine = scripted_engine(64, block_size=4, token_budget=10)
    engine.submit(spec([1] * 25, 2))
    engine.submit(spec([2] * 5, 2))
    batches = [engine.step().plan.batch for _ in range(3)]  # type: ignore[union-attr]
    assert [[(w.request, w.phase, w.start, w.tokens) for w in batch] for batch in batches] == [
        [("1", "prefill", 0, 10)],
        [("1", "prefill", 10, 10)],
        [("1", "prefill", 20, 5), ("2", "prefill", 0, 5)],
    ]
    engine = scripted_engine(64, block_size=4, token_budget=10)
    engine.submit(spec([1] * 25, 2))
    engine.submit(spec([2] * 5, 2))
    engine.step()
    assert waits(engine) == {"2": TokenBudgetSpent(1, 10, 10)}


def test_prefill_and_decode_share_a_step() -> None:
    engine = scripted_engine(64, block_size=4, token_budget=10)
    engine.submit(spec([1] * 5, 9))
    engine.step()
    engine.submit(spec([2] * 20, 2))
    step = engine.step()
    assert step is not None
    assert [(w.request, w.phase, w.tokens) for w in step.plan.batch] == [("1", "decode", 1), ("2", "prefill", 9)]


def test_without_chunking_a_prefill_waits_for_the_whole_budget_or_runs_alone() -> None:
    engine = scripted_engine(64, block_size=4, token_budget=10, chunked_prefill=False)
    engine.submit(spec([1] * 6, 3))
    engine.submit(spec([2] * 30, 3))
    assert engine.step().plan.batch == (ev.Work("1", "prefill", 0, 6),)  # type: ignore[union-attr]
    assert waits(engine) == {"2": TokenBudgetSpent(30, 6, 10)}
    engine.run(2)
    assert engine.step().plan.batch == (ev.Work("2", "prefill", 0, 30),)  # type: ignore[union-attr]


def test_no_more_run_than_allowed() -> None:
    engine = scripted_engine(64, block_size=4, max_running=3)
    engine.submit(spec([1], 5))
    engine.submit(spec([2], 5, n=3))
    engine.step()
    assert waits(engine)["2.0"] == MaxRunning(3, 1, 3)
    assert waits(engine)["2.1"] == AwaitsPrefill("2.0")


def test_the_last_to_come_is_preempted_and_the_record_says_for_whom() -> None:
    engine = scripted_engine(7, block_size=2, prefix_cache=False)
    for token in (1, 2, 3):
        engine.submit(spec([token] * 3, 8))
    engine.submit(spec([4] * 6, 1))
    while not (preempted := planned(engine, ev.Preempted)):
        pass
    first = preempted[0]
    assert isinstance(first, ev.Preempted)
    assert first.request == "3"
    assert first.reason == NeededBlocks("2", 1, 0, 0, ("1",))
    assert engine.state.requests["3"].state == "PREEMPTED"
    assert waits(engine) == {"4": AfterPreemption("3")}
    engine.step()
    assert waits(engine) == {"3": NoFreeBlocks(3, 1, 0), "4": BehindOlder()}
    while not (admitted := planned(engine, ev.Admitted)):
        pass
    assert [(event.request, event.resumed) for event in admitted] == [("2", True), ("3", True)]  # type: ignore[attr-defined]


def test_a_higher_priority_is_admitted_first_and_preempted_last() -> None:
    engine = scripted_engine(5, block_size=2, max_running=2, prefix_cache=False)
    engine.submit(spec([1] * 3, 6))
    engine.submit(spec([2] * 3, 6, priority=1))
    engine.step()
    assert next(iter(engine.state.running)) == "2"
    while not (preempted := planned(engine, ev.Preempted)):
        pass
    assert [event.request for event in preempted] == ["1"]  # type: ignore[attr-defined]


def test_longest_prefix_match_admits_the_cached_prompt_first() -> None:
    for policy, first in (("fcfs", "2"), ("lpm", "3")):
        engine = scripted_engine(64, block_size=2, max_running=1, policy=policy)
        engine.submit(spec([1, 2, 3, 4, 5], 1))
        engine.run()
        engine.submit(spec([9] * 5, 2))
        engine.submit(spec([1, 2, 3, 4, 9], 2))
        step = engine.step()
        assert step is not None
        assert [work.request for work in step.plan.batch] == [first]


def test_samples_share_the_prompt_and_copy_its_last_block_on_write() -> None:
    engine = scripted_engine(64, block_size=4)
    engine.submit(spec([1] * 6, 3, n=3))
    engine.step()
    tables = [engine.state.requests[f"1.{sample}"].table for sample in range(3)]
    assert tables[0] == tables[1] == tables[2]
    assert [engine.state.blocks.ref_count[block] for block in tables[0]] == [3, 3]
    copies = planned(engine, ev.Copied)
    assert [(e.request, e.index, e.tokens) for e in copies] == [("1.0", 1, 2), ("1.1", 1, 2)]  # type: ignore[attr-defined]
    assert engine.state.blocks.ref_count[tables[2][0]] == 3


def test_aborting_the_sample_that_prefills_hands_its_place_on() -> None:
    engine = scripted_engine(64, block_size=4, token_budget=3)
    engine.submit(spec([1] * 9, 3, n=3))
    engine.step()
    engine.abort("1.0")
    assert engine.state.requests["1.1"].leader is None
    assert engine.state.requests["1.2"].wait == AwaitsPrefill("1.1")
    assert engine.state.requests["1.2"].leader == "1.1"
    engine.run()
    assert not engine.busy


def test_an_impossible_request_ends_at_once_with_its_numbers() -> None:
    engine = scripted_engine(4, block_size=4, max_context=100)
    for prompt in ([1] * 17, [1] * 100, [99]):
        engine.submit(spec(prompt, 2))
    assert not engine.busy
    assert engine.state.totals.finished == 3


def test_a_plan_changes_nothing() -> None:
    from engine import keyframe

    engine = scripted_engine(9, block_size=2)
    for token in (1, 2, 3):
        engine.submit(spec([token] * 3, 8))
    while engine.busy:
        before = keyframe.pack(engine.state)
        assert engine.scheduler.plan(engine.state) == engine.scheduler.plan(engine.state)
        assert keyframe.pack(engine.state) == before
        engine.step()


def ends(engine: Engine) -> list[tuple[str, str, str]]:
    """Run to the end; (request, reason, detail) of everything that finished."""
    finished: list[ev.Event] = []
    for _ in range(200):
        if (step := engine.step()) is None:
            return [(e.request, e.reason, e.detail) for e in finished if isinstance(e, ev.Finished)]
        finished += [*step.plan.events, *step.results]
    raise AssertionError(f"still live: {waits(engine)}")


def test_samples_that_share_the_whole_pool_end_with_length_when_it_is_full() -> None:
    """Two samples share all four blocks, and each needs a fifth: to wait for one would be to wait for ever."""
    engine = scripted_engine(4, block_size=4)
    engine.submit(spec(range(16), 8, n=2))
    engine.submit(spec([7], 1))
    assert ends(engine) == [
        ("1.1", "length", "kv_full"),
        ("1.0", "length", "kv_full"),
        ("2", "length", "max_tokens"),
    ]


def test_a_request_alone_gives_way_to_itself_where_it_pins_blocks_that_it_computed_twice() -> None:
    """All three compute the same prompt at once; the blocks of the third hang below the first's in the tree."""
    engine = scripted_engine(5, block_size=1, token_budget=3)
    for count in (1, 2, 4):
        engine.submit(spec([0], count))
    assert ends(engine) == [(request, "length", "max_tokens") for request in ("1", "2", "3")]
    assert engine.state.totals.preemptions == 1


def test_room_is_made_until_it_is_not_needed_any_more() -> None:
    """Once the sibling that shares the block is preempted, the block can be written without a copy."""
    engine = scripted_engine(3, block_size=4, token_budget=5)
    engine.submit(spec([1] * 6, 3, n=2))
    engine.step()
    engine.submit(spec([2] * 2, 3, priority=1))
    engine.step()
    step = engine.step()
    assert step is not None
    preempted = [e for e in step.plan.events if isinstance(e, ev.Preempted)]
    assert [(e.request, e.reason) for e in preempted] == [("1.1", NeededBlocks("1.0", 1, 0, 0, ("2",)))]
    assert [work.request for work in step.plan.batch] == ["2", "1.0"]
    assert engine.state.requests["1.0"].preemptions == 0


def test_an_eviction_says_when_the_block_was_last_used() -> None:
    """Blocks that a request gave up in this very step were in use until now."""
    engine = scripted_engine(6, block_size=2)
    for token in (1, 2):
        engine.submit(spec([token] * 4, 12))
    while not (evicted := planned(engine, ev.Evicted)):
        pass
    first = evicted[0]
    assert isinstance(first, ev.Evicted)
    assert first.last_use_step == first.step


def test_longest_prefix_match_compares_the_first_to_come_only() -> None:
    """Comparing ten thousand prompts every step would cost more than the hits save."""
    engine = scripted_engine(64, block_size=2, max_running=1, policy="lpm")
    engine.submit(spec([1, 2, 3, 4, 5], 1))
    engine.run()
    for token in range(200):
        engine.submit(spec([token % 50, 9, 9], 1))
    engine.submit(spec([1, 2, 3, 4, 9], 1))
    engine.submit(spec([1, 2, 3, 4, 9], 1, priority=1))
    order = [planned(engine, ev.Admitted)[0].request for _ in range(2)]  # type: ignore[attr-defined]
    assert order == ["203", "2"]


def test_what_waits_is_settled_in_order_of_rank() -> None:
    """Not in the order in which the reasons changed: a state that was folded from a keyframe has lost that."""
    engine = scripted_engine(64, block_size=4, max_running=1)
    engine.submit(spec([1], 3))
    engine.step()
    for priority in (0, 1, 3, 2):
        engine.submit(spec([2], 3, priority=priority))
    ranks = [engine.state.requests[e.request].rank for e in planned(engine, ev.Waiting)[1:]]  # type: ignore[attr-defined]
    assert len(ranks) == 3
    assert all(a < b for a, b in pairwise(ranks))


@pytest.mark.parametrize(
    "make",
    [
        lambda: RequestSpec((1,), SamplingParams(logit_bias={999: 1.0})),
        lambda: RequestSpec((1, -1)),
        lambda: RequestSpec((1, 1 << 40)),
        lambda: RequestSpec((1,), priority=1 << 64),
        lambda: RequestSpec((1,), SamplingParams(seed=1 << 64)),
        lambda: RequestSpec((1,), SamplingParams(stop_ids=(1 << 40,))),
    ],
)
def test_a_request_that_makes_no_sense_leaves_no_trace(make) -> None:
    engine = scripted_engine(8, block_size=4)
    with pytest.raises(OptionError):
        engine.submit(make())
    assert not engine.busy
    assert engine.state.totals.submitted == 0
    assert engine.submit(spec([1])) == ["1"]


def test_a_prompt_whose_keys_depend_on_its_length_shares_nothing() -> None:
    """Dynamic rope turns the keys of a prompt longer than the trained length by an angle of its own."""
    engine = scripted_engine(64, block_size=2, shareable_prompt=6)
    for prompt, cached in (([1] * 6, 0), ([1] * 7, 0), ([1] * 8, 0), ([1] * 6, 4)):
        before = engine.state.blocks.cached
        engine.submit(spec(prompt, 1))
        admitted = planned(engine, ev.Admitted)[0]
        assert isinstance(admitted, ev.Admitted)
        assert admitted.cached_tokens == cached
        assert len(prompt) == 6 or engine.state.blocks.cached == before


@pytest.mark.parametrize(
    ("asked", "detail", "tokens"), [(50, "context", 4), (4, "context", 4), (3, "max_tokens", 3)]
)
def test_an_output_ends_where_the_context_does(asked: int, detail: str, tokens: int) -> None:
    engine = scripted_engine(64, max_context=10)
    engine.submit(spec([1] * 6, asked))
    assert ends(engine) == [("1", "length", detail)]
    assert engine.state.totals.output_tokens == tokens


def test_an_output_is_not_allowed_more_than_the_context_holds() -> None:
    engine = scripted_engine(64, max_context=10)
    engine.submit(spec([1] * 6, 50))
    assert engine.state.requests["1"].params.max_tokens == 4


def test_admission_counts_the_blocks_that_samples_will_copy() -> None:
    engine = scripted_engine(4, block_size=4)
    engine.submit(spec([1] * 5, 9))
    engine.submit(spec([2] * 6, 3, n=2))
    engine.step()
    assert waits(engine)["2.0"] == NoFreeBlocks(3, 2, 0)


def test_an_eviction_says_how_often_its_blocks_had_been_matched() -> None:
    engine = scripted_engine(4, block_size=4)
    for _ in range(3):
        engine.submit(spec(range(8), 1))
        engine.run()
    engine.submit(spec([9] * 15, 1))
    evicted = planned(engine, ev.Evicted)
    assert sum(event.hits for event in evicted) == 2  # type: ignore[attr-defined]
