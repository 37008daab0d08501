"""What an explanation says equals what is seen when the record is walked through step by step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import events as ev
from engine.reasons import CacheOff, NeverComputed
from engine.state import State
from engine.tokens import TokenLog
from sessions import explain_line
from sessions.explain_clock import StepClock
from sessions.explain_facts import Life, Smaller
from sessions.explain_match import common
from tests.explaining import Workload, cached_sequences, failing, gathered, observe, run, workloads


def counted(pairs: list[tuple[tuple[str, str], int]]) -> Counter[tuple[str, str]]:
    sums: Counter[tuple[str, str]] = Counter()
    for key, count in pairs:
        sums[key] += count
    return sums


@pytest.fixture(scope="module", autouse=True)
def whole_line() -> Iterator[None]:
    """Everybody who was first in line is told, so that all can be compared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explain_line, "MOST_BEHIND", 1_000)
        yield


def check_against_the_steps(workload: Workload) -> list[Life]:
    events = run(workload)
    gatherer, lives = gathered(events, workload)
    seen = observe(events, workload)
    waits = [((life.request, wait.code), wait.steps) for life in lives for wait in life.waits]
    assert counted(waits) == seen.waited
    behind = [((life.request, b.request), b.steps) for life in lives for w in life.waits for b in w.behind]
    assert counted(behind) == seen.behind
    phases = [((life.request, span.phase), span.steps) for life in lives for span in life.phases]
    assert counted(phases) == seen.phases
    for life in lives:
        assert life.computed_tokens == seen.computed[life.request]
        assert life.recomputed_tokens == seen.again[life.request]
        assert len(life.failures) == seen.failed[life.request]
        for before, after in zip(life.waits, life.waits[1:], strict=False):
            assert before.last_step < after.first_step
    totals = gatherer.totals(lives)
    assert totals.peak_blocks == seen.peak_blocks
    assert totals.all_waited_steps == seen.waited.total()
    assert totals.computed_tokens == gatherer.state.totals.computed_tokens
    assert totals.preemptions == gatherer.state.totals.preemptions
    assert totals.evicted_blocks == gatherer.state.totals.evicted_blocks
    assert totals.output_tokens == gatherer.state.totals.output_tokens
    looks = (totals.first_look, totals.resumed_look)
    assert sum(look.looked_up_tokens for look in looks) == gatherer.state.totals.looked_up_tokens
    assert sum(look.hit_tokens for look in looks) == gatherer.state.totals.hit_tokens
    return lives


@settings(max_examples=150)
@given(workloads)
def test_every_number_is_what_the_steps_show(workload: Workload) -> None:
    check_against_the_steps(workload)


@settings(max_examples=60)
@given(failing)
def test_every_number_is_what_the_steps_show_where_some_fail(workload: Workload) -> None:
    check_against_the_steps(workload)


@settings(max_examples=100)
@given(workloads)
def test_smaller_blocks_would_have_matched_what_was_in_the_pool(workload: Workload) -> None:
    """Against every token sequence in the pool at that moment, compared one by one."""
    events = run(workload)
    _, lives = gathered(events, workload)
    told = {(life.request, each.step): each.smaller for life in lives for each in life.admissions}
    state, tokens = State.at_start(workload.num_blocks, workload.options), TokenLog()
    for event in events:
        if isinstance(event, ev.PrefixMatched) and not isinstance(event.end, CacheOff):
            wanted = list(tokens.tokens_of(event.request))
            longest = max((common(held, wanted) for held in cached_sequences(state, tokens)), default=0)
            expected = expected_gains(event.tokens, min(longest, len(wanted) - 1), state.blocks.block_size)
            assert list(told[event.request, event.step]) == expected
        state.apply(event)
        tokens.apply(event)


@settings(max_examples=100)
@given(workloads)
def test_who_was_computing_the_same_tokens_had_them_and_had_not_computed_them(workload: Workload) -> None:
    events = run(workload)
    _, lives = gathered(events, workload)
    told = {(life.request, each.step): each.not_yet_by for life in lives for each in life.admissions}
    state, tokens = State.at_start(workload.num_blocks, workload.options), TokenLog()
    for event in events:
        if isinstance(event, ev.PrefixMatched) and isinstance(event.end, NeverComputed):
            stop = event.tokens + state.blocks.block_size
            wanted = list(tokens.tokens_of(event.request)[:stop])
            same = {
                other.id for other in state.running.values()
                if list(tokens.tokens_of(other.id)[:stop]) == wanted and other.computed < stop == len(wanted)
            }  # fmt: skip
            who = told[event.request, event.step]
            assert who in same if same else who is None
        state.apply(event)
        tokens.apply(event)


def expected_gains(matched: int, there: int, block_size: int) -> list[Smaller]:
    gains: list[Smaller] = []
    for size in [block_size >> shift for shift in range(1, 13) if block_size >> shift]:
        if there // size * size > max([matched, *(gain.tokens for gain in gains)]):
            gains.append(Smaller(size, there // size * size))
    return gains


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
def test_the_common_prefix_is_as_long_as_tokens_agree(a: list[int], b: list[int]) -> None:
    length = common(a, b)
    assert a[:length] == b[:length]
    assert length == min(len(a), len(b)) or a[length] != b[length]


def committed(step: int, started_ns: int, busy_ns: int) -> ev.StepCommitted:
    return ev.StepCommitted(
        branch=0, step=step, tokens=1, started_ns=started_ns, plan_ns=1, forward_ns=busy_ns - 3, sample_ns=1,
        commit_ns=1,
    )  # fmt: skip


def test_a_stretch_of_steps_is_timed_from_its_first_start_to_its_last_end() -> None:
    """Steps 11 to 14, of which 12 failed: 10 of 40 ns were between steps."""
    clock = StepClock(10)
    clock.see(committed(11, 1_000, 10))
    clock.see(ev.StepFailed(branch=0, step=12, error="boom", ended=()))
    clock.see(committed(13, 1_020, 10))
    clock.see(committed(14, 1_030, 10))
    assert (clock.wall_ns(11, 14), clock.busy_ns(11, 14)) == (40, 30)
    assert (clock.wall_ns(12, 13), clock.busy_ns(12, 13)) == (10, 10)
    assert (clock.wall_ns(12, 12), clock.busy_ns(12, 12)) == (None, 0)
    assert (clock.wall_ns(14, 20), clock.busy_ns(14, 20)) == (10, 10)
    assert (clock.wall_ns(13, 12), clock.busy_ns(13, 12)) == (None, 0)
