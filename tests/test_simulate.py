"""A simulation repeats the record event for event, and under other options does what the engine would do."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine import events as ev
from sessions.header import Header
from sessions.simulate import Setting, Simulation, bookkeeping_of
from sessions.simulate_check import Verdict, verify
from sessions.simulate_inputs import Obstacle, read_inputs
from sessions.simulate_options import WhatIfError, setting_of
from tests.explaining import Kept, Workload, failing, run, undisturbed, workloads
from tests.recorded import header
from tests.scripted import scripted_engine, spec

WORKLOAD = Workload(
    [(([1, 2, 3, 4, 5, 6, 7, 8, 9], 6, 1, 0), 0), (([1, 2, 3, 4, 5, 6, 7, 8, 3], 6, 2, 0), 1)],
    {"block_size": 4, "token_budget": 8, "max_running": 4}, 8,
)  # fmt: skip


def header_of(workload: Workload) -> Header:
    return header(workload.num_blocks, **workload.setup)


def checked(workload: Workload, events: list[ev.Event]) -> Verdict:
    return verify(read_inputs(events), header_of(workload), events)  # type: ignore[arg-type]


def simulated(workload: Workload, events: list[ev.Event], setting: Setting) -> tuple[Simulation, list[ev.Event]]:
    heard: list[ev.Event] = []
    simulation = Simulation(read_inputs(events), header_of(workload), setting, heard.append)  # type: ignore[arg-type]
    simulation.run()
    return simulation, heard


@settings(max_examples=200)
@given(workloads)
def test_with_unchanged_options_every_event_comes_out_as_recorded(workload: Workload) -> None:
    """Aborts, forks and preemptions by hand are part of what is given again."""
    events = run(workload)
    verdict = checked(workload, events)
    assert verdict.difference is None
    assert verdict.reproduced
    assert verdict.checked_steps == events[-1].step


@settings(max_examples=60)
@given(workloads, st.integers(0, 30))
def test_a_record_that_was_cut_off_is_repeated_up_to_its_last_step(workload: Workload, last: int) -> None:
    events = [event for event in run(workload) if event.step <= last]
    assert checked(workload, events).reproduced


changed = st.fixed_dictionaries(
    {},
    optional={
        "block_size": st.sampled_from([1, 2, 3, 4, 16]), "token_budget": st.integers(1, 40),
        "max_running": st.integers(3, 8), "chunked_prefill": st.booleans(), "prefix_cache": st.booleans(),
        "policy": st.sampled_from(["fcfs", "lpm"]),
    },
)  # fmt: skip


@settings(max_examples=200)
@given(undisturbed, changed, st.integers(0, 20))
def test_under_other_options_it_does_what_the_engine_would_do(workload: Workload, changes, more) -> None:
    """The real engine with a (scripted) model runs the same requests under the changed options."""
    changes["num_blocks"] = 60 + more if "block_size" in changes else workload.num_blocks + more
    events, wanted = run(workload), run(workload, **changes)
    arrivals = [(e.step, e.request) for e in events if isinstance(e, ev.Submitted)]
    assume(arrivals == [(e.step, e.request) for e in wanted if isinstance(e, ev.Submitted)])
    blocks = changes.pop("num_blocks")
    options = msgspec.structs.replace(workload.options, **changes)
    simulation, heard = simulated(workload, events, Setting(options, blocks))
    assert list(map(bookkeeping_of, heard)) == list(map(bookkeeping_of, wanted))
    assert not simulation.cut_short


@settings(max_examples=100)
@given(workloads, changed)
def test_whatever_is_changed_nobody_generates_what_is_not_recorded(workload: Workload, changes) -> None:
    events = run(workload)
    options = msgspec.structs.replace(workload.options, **changes)
    simulation, heard = simulated(workload, events, Setting(options, 80, keep_policy=True))
    record = read_inputs(events).tokens  # type: ignore[arg-type]
    assert not simulation.engine.busy
    for event in heard:
        if isinstance(event, ev.Token):
            assert record.tokens_of(event.request)[event.position] == event.token
    ended = {event.request: event for event in heard if isinstance(event, ev.Finished)}
    for event in events:
        if isinstance(event, ev.Finished) and event.detail == "max_tokens" and event.request in ended:
            assert ended[event.request].output_tokens == event.output_tokens


@settings(max_examples=60)
@given(failing)
def test_failed_steps_are_not_simulated_and_checked_up_to(workload: Workload) -> None:
    events = run(workload)
    failed = [event.step for event in events if isinstance(event, ev.StepFailed)]
    verdict = checked(workload, events)
    assert verdict.difference is None
    assert verdict.obstacle == (Obstacle(failed[0], "step_failed") if failed else None)
    assert verdict.checked_steps == (failed[0] - 1 if failed else events[-1].step)


def test_a_block_evicted_by_hand_is_not_simulated_and_checked_up_to() -> None:
    kept = Kept()
    engine = scripted_engine(20, kept, block_size=4)
    engine.submit(spec([3] * 9, 2))
    engine.run()
    engine.submit(spec([1] * 9, 4))
    engine.run(2)
    engine.submit(spec([2] * 3, 2))
    engine.evict(next(block for block in range(20) if engine.state.blocks.state(block) == "cached"))
    engine.run()
    about = header(20, block_size=4)
    verdict = verify(read_inputs(kept.events), about, kept.events)  # type: ignore[arg-type]
    assert (verdict.difference, verdict.obstacle) == (None, Obstacle(4, "evicted by hand"))
    assert (verdict.checked_steps, verdict.reproduced) == (3, False)


def test_a_fork_that_comes_before_its_place_is_reached_waits_for_it_and_keeps_its_number() -> None:
    pair = Workload([(([1] * 9, 6, 1, 0), 0), (([2] * 3, 3, 1, 0), 5)], {"block_size": 4}, 80, forks={4: 0})
    events = run(pair)
    assert [e.request for e in events if isinstance(e, ev.Submitted | ev.Forked)] == ["1", "2", "3"]
    _, heard = simulated(pair, events, setting_of("token-budget=2", header_of(pair)))
    arrived = [(e.step, e.request) for e in heard if isinstance(e, ev.Submitted | ev.Forked)]
    assert [request for _, request in arrived] == ["1", "3", "2"]
    assert [step for step, _ in arrived][:2] == [0, 5]


@pytest.mark.parametrize(
    "kind", [ev.Waiting, ev.PrefixMatched, ev.Allocated, ev.Scheduled, ev.Cached, ev.Finished]
)
def test_an_event_that_was_tampered_with_is_found(kind: type[ev.Event]) -> None:
    crowded = replace(WORKLOAD, setup={**WORKLOAD.setup, "max_running": 2})
    events = run(crowded)
    index = next(index for index, event in enumerate(events) if type(event) is kind and event.step > 1)
    del events[index]
    verdict = checked(crowded, events)
    assert verdict.difference is not None
    assert not verdict.reproduced
    assert verdict.difference.simulated is not None
    assert type(verdict.difference.simulated) is kind


def test_events_that_the_simulation_does_not_say_are_found() -> None:
    events = run(WORKLOAD)
    verdict = checked(WORKLOAD, [*events, events[-1]])
    assert verdict.difference is not None
    assert verdict.difference.recorded == events[-1]
    assert verdict.difference.simulated is None


def test_an_idle_stretch_is_skipped_and_counted() -> None:
    """The second request comes 10 steps later; a budget that is large ends the first one long before."""
    slow = Workload([(([1] * 30, 2, 1, 0), 0), (([2] * 3, 2, 1, 0), 12)], {"token_budget": 3, "block_size": 4}, 0)
    events = run(slow)
    simulation, heard = simulated(slow, events, setting_of("token-budget=100", header_of(slow)))
    submitted = [event.step for event in heard if isinstance(event, ev.Submitted)]
    arrived = [event.step for event in events if isinstance(event, ev.Submitted)]
    assert simulation.skipped_steps == arrived[1] - submitted[1] > 0


def test_who_filled_the_pool_ends_where_its_recorded_tokens_end() -> None:
    lone = Workload([(([1] * 6, 50, 1, 0), 0)], {"block_size": 4}, 0)
    events = run(lone, num_blocks=2)
    [finished] = [event for event in events if isinstance(event, ev.Finished)]
    assert finished.detail == "kv_full"
    simulation, heard = simulated(lone, events, Setting(lone.options, 40))
    [ended] = [event for event in heard if isinstance(event, ev.Finished)]
    assert ended.output_tokens == finished.output_tokens
    assert simulation.cut_short == {"1"}


def test_who_was_aborted_does_the_same_work_in_a_slower_run() -> None:
    """The abort came after its fourth token; a smaller budget gets there later, and it goes on until then."""
    pair = Workload([(([1] * 9, 20, 1, 0), 0), (([2] * 9, 3, 1, 0), 0)], {"block_size": 4}, 80, {4: 0})
    events = run(pair)
    [aborted] = [event for event in events if isinstance(event, ev.Finished) and event.request == "1"]
    assert (aborted.detail, aborted.output_tokens, aborted.step) == ("aborted", 4, 4)
    _, heard = simulated(pair, events, setting_of("token-budget=3", header_of(pair)))
    [ended] = [event for event in heard if isinstance(event, ev.Finished) and event.request == "1"]
    assert (ended.output_tokens, ended.step > 4) == (4, True)


def test_who_was_refused_comes_and_goes() -> None:
    crowd = Workload([(([1] * 40, 4, 1, 0), 0), (([2] * 6, 4, 1, 0), 0)], {"block_size": 4}, 0)
    events = run(crowd, num_blocks=4)
    simulation, heard = simulated(crowd, events, Setting(crowd.options, 40))
    assert {event.request for event in heard if isinstance(event, ev.Token)} == {"2"}
    assert simulation.inputs.refused == {"1"}


def test_the_pool_keeps_its_memory_unless_it_is_named() -> None:
    about = header(14, block_size=4)
    assert setting_of("block-size=2", about).num_blocks == 28
    assert setting_of("block-size=2,kv-blocks=9", about).num_blocks == 9
    assert setting_of("policy=lpm", about) == replace(setting_of("policy=lpm", about), num_blocks=14)
    assert setting_of("policy=lpm", about).keep_policy
    assert setting_of("chunked-prefill=off, prefix-cache=off", about).options.chunked_prefill is False


NAMES = "block-size, kv-blocks, token-budget, max-running, chunked-prefill, prefix-cache, policy, eviction"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("blocks=4", f"there is no option 'blocks': use one of {NAMES}"),
        ("", f"there is no option '': use one of {NAMES}"),
        ("block-size", "block-size has no value: write block-size=VALUE"),
        ("block-size=x", "block-size is 'x': it is not a whole number"),
        ("block-size=0", "block-size is 0: it must be between 1 and 4096"),
        ("kv-blocks=0", "kv-blocks is 0: it must be between 1 and 16777216"),
        ("policy=best", "policy is 'best': use fcfs or lpm"),
        ("prefix-cache=no", "prefix-cache is 'no': use on or off"),
        ("policy=lpm,policy=fcfs", "policy is there twice"),
    ],
)
def test_what_cannot_be_asked_is_said(text: str, words: str) -> None:
    with pytest.raises(WhatIfError) as refused:
        setting_of(text, header(14, block_size=4))
    assert str(refused.value) == f"--what-if {text}: {words}"
