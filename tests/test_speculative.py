"""Drafts under any schedule: the tokens of plain decoding, true KV, balanced blocks, and a record that folds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import events as ev
from engine.debug.checker import check
from engine.debug.evaluate import evaluate
from engine.debug.moment import Moment
from engine.debug.seen_stages import SeenStages
from engine.drafting import Draft
from engine.engine import Engine, StepFailedError
from engine.interventions import Scale
from engine.params import ForkSpec, RequestSpec, SamplingParams
from engine.reasons import NoFreeBlocks, TokenBudgetSpent
from sessions.reader import Session
from tests.drafting import Grower, Oracle, drafting
from tests.recorded import engine_on, header, writer_on
from tests.scripted import expected_output, scripted_engine, spec
from tests.test_bookkeeping import Recorded, outputs, requests, setups
from tests.test_expressions import KNOWN
from tests.test_going_back import ACTIONS, act, check_kv, check_whole, engine_with_a_past


@settings(max_examples=200, deadline=None)
@given(
    st.lists(requests, min_size=1, max_size=5),
    setups,
    st.integers(0, 20),
    st.sampled_from([Oracle(0.3), Oracle(0.8), Oracle(1.0), Grower(0.5), Grower(1.0)]),
    st.data(),
)
def test_drafts_change_no_token_whatever_is_done_to_the_run(batch, setup, slack, drafter, data) -> None:
    """With preemption, eviction, forks, samples, chunks, rewinds of both kinds, force and aborts."""
    size = setup["block_size"]
    largest = max(-(-(len(p) + m + 4) // size) + n for p, m, n, _ in batch)
    engine, timeline = engine_with_a_past(largest + slack // size, **setup)
    drafting(engine, drafter)
    for prompt, count, n, priority in batch:
        engine.submit(spec(prompt, count, n, priority))
    for action in data.draw(st.lists(st.sampled_from([*ACTIONS, "abort"]), max_size=40)):
        if action == "abort":
            if engine.busy and data.draw(st.booleans()):
                engine.abort(data.draw(st.sampled_from(sorted(engine.state.requests))))
        else:
            act(engine, timeline, action, data)
        engine.state.check_invariants()
        check_kv(engine)
    engine.run(400)
    check_kv(engine)
    check_whole(engine, timeline)
    totals = engine.state.totals
    assert 0 <= totals.accepted_tokens <= totals.drafted_tokens


@settings(max_examples=100, deadline=None)
@given(st.lists(requests, min_size=1, max_size=4), setups, st.sets(st.integers(1, 12), max_size=2))
def test_a_step_that_fails_with_drafts_under_way_leaves_no_trace_of_them(batch, setup, failing) -> None:
    size = setup["block_size"]
    largest = max(-(-(len(p) + m) // size) + n for p, m, n, _ in batch)
    sink = Recorded()
    engine = drafting(scripted_engine(largest + 4, sink, **setup), Oracle(0.9))
    submitted = [(engine.submit(spec(p, m, n)), p, m) for p, m, n, _ in batch]

    def fault() -> None:
        if engine.state.step in failing:
            failing.discard(engine.state.step)
            raise RuntimeError("out of memory")

    engine._executor.fault = fault
    ended = set()
    while engine.busy:
        try:
            engine.step()
        except StepFailedError:
            ended |= set(ev.decode(sink.lines[-1]).ended)
        assert all(request.draft is None for request in engine.state.requests.values())
        engine.state.check_invariants()
        check_kv(engine)
    for ids, prompt, count in submitted:
        for sample, (id_, output) in enumerate(zip(ids, outputs(engine, ids, prompt), strict=True)):
            assert id_ in ended or output == expected_output(prompt, count, sample)


def test_perfect_drafts_take_a_step_for_many_tokens() -> None:
    engine = drafting(scripted_engine(block_size=4), Oracle(1.0, most=6))
    engine.submit(spec(range(10), 40))
    engine.run()
    assert engine.state.totals.accepted_tokens == engine.state.totals.drafted_tokens > 20
    assert engine.state.step == 1 + 40 - 1 - engine.state.totals.accepted_tokens


def said_by(engine: Engine, steps: int = 100) -> list[ev.Event]:
    said: list[ev.Event] = []
    for _ in range(steps):
        if (step := engine.step()) is None:
            break
        said += [*step.plan.events, *step.results]
    return said


class Fixed:
    """Drafts the same wrong tokens each time."""

    def __init__(self, count: int) -> None:
        self.count = count

    def propose_drafts(self, asked):
        return [Draft.sure([0] * min(self.count, each.most)) for each in asked]


def test_drafts_are_cut_to_the_budget_that_decodes_leave_and_the_record_says_so() -> None:
    engine = drafting(scripted_engine(block_size=4, token_budget=4), Fixed(3))
    for prompt in ([1, 2], [3, 4]):
        engine.submit(spec(prompt, 9))
    said = said_by(engine)
    cut = next(event for event in said if isinstance(event, ev.Drafted) and event.cut is not None)
    assert (cut.used, cut.cut) == (2, TokenBudgetSpent(3, 2, 4))
    none_left = next(event for event in said if isinstance(event, ev.Drafted) and event.used == 0)
    assert none_left.cut == TokenBudgetSpent(3, 4, 4)


def test_a_prompt_is_computed_as_fast_beside_drafts_as_without() -> None:
    steps = []
    for engine in (
        drafting(scripted_engine(block_size=4, token_budget=4), Fixed(3)),
        scripted_engine(block_size=4, token_budget=4),
    ):
        engine.submit(spec([1, 2], 30))
        engine.run(2)
        engine.submit(spec(range(12), 3))
        engine.run(4)
        steps.append(engine.state.requests["2"].num_tokens - 12)
    assert steps == [1, 1]


def test_drafts_out_of_blocks_preempt_nobody_and_decoding_goes_on() -> None:
    engine = drafting(scripted_engine(4, block_size=2, prefix_cache=False), Fixed(4))
    engine.submit(spec([1, 2, 3], 5))
    said = said_by(engine)
    drafted = [event for event in said if isinstance(event, ev.Drafted)]
    assert [(event.used, event.cut) for event in drafted[:2]] == [(3, None), (2, None)]
    short = drafting(scripted_engine(2, block_size=2, prefix_cache=False), Fixed(4))
    short.submit(spec([1, 2], 3))
    cut = [event for event in said_by(short) if isinstance(event, ev.Drafted)]
    assert [(event.used, event.cut) for event in cut] == [(1, None)]
    tight = drafting(scripted_engine(3, block_size=2, prefix_cache=False), Fixed(4))
    tight.submit(spec([1, 2], 30))
    cut = [event for event in said_by(tight) if isinstance(event, ev.Drafted)]
    assert (cut[0].used, cut[0].cut) == (3, NoFreeBlocks(2, 1, 0))
    assert (cut[-1].used, cut[-1].cut) == (0, NoFreeBlocks(2, 0, 0))
    assert not any(isinstance(event, ev.Preempted) for event in said)


def test_blocks_of_rejected_drafts_are_given_back_at_once() -> None:
    engine = drafting(scripted_engine(block_size=2), Fixed(6))
    engine.submit(spec([1, 2, 3], 20))
    engine.step()
    step = engine.step()
    assert step is not None
    taken = [block for event in step.plan.events if isinstance(event, ev.Allocated) for block in event.blocks]
    back = next(event for event in step.results if isinstance(event, ev.GivenBack))
    assert set(back.blocks) <= set(taken)
    request = engine.state.requests["1"]
    assert len(request.table) == -(-request.computed // 2)
    engine.state.check_invariants()


def test_a_draft_that_stops_the_output_ends_it_there() -> None:
    wanted = expected_output([4, 5, 6], 12)
    stop = wanted[5]
    first = wanted.index(stop)
    engine = drafting(scripted_engine(block_size=4), Oracle(1.0, most=12))
    params = SamplingParams(max_tokens=12, stop_ids=(stop,))
    engine.submit(RequestSpec((4, 5, 6), params))
    said = said_by(engine)
    assert list(engine.tokens.tokens_of("1"))[3:] == wanted[: first + 1]
    verified = [event for event in said if isinstance(event, ev.Verified)]
    assert verified[-1].bonus is None
    assert [event.detail for event in said if isinstance(event, ev.Finished)] == ["stop_id"]


class Broken:
    """Fails as its mode says, the third time it is asked."""

    def __init__(self, mode: str) -> None:
        self.mode, self.asked = mode, 0

    def propose_drafts(self, asked):
        self.asked += 1
        if self.asked < 3:
            return [None] * len(asked)
        if self.mode == "raises":
            raise KeyError("no model")
        if self.mode == "stalls":
            time.sleep(60)
        return [] if self.mode == "too few" else [BROKEN[self.mode]] * len(asked)


BROKEN = {
    "no draft": "abc",
    "outside": Draft.sure([50]),
    "too many": Draft.sure([1] * 60),
    "no q": Draft((1,), (0.5,)),
    "no sum": Draft((1,), (0.5,), (ev.Spread((1, 2), (0.5, 0.4)),)),
    "later parent": Draft.sure([1, 2], [-1, 1]),
}


@pytest.mark.parametrize("mode", ["raises", "stalls", "too few", *BROKEN])
def test_a_drafter_that_fails_is_disabled_and_the_run_goes_on(mode: str, monkeypatch) -> None:
    monkeypatch.setattr("engine.drafts.DEADLINE_S", 0.05)
    sink = Recorded()
    engine = drafting(scripted_engine(block_size=4, sink=sink), Broken(mode))
    engine.submit(spec([1, 2, 3], 9))
    engine.run()
    assert list(engine.tokens.tokens_of("1"))[3:] == expected_output([1, 2, 3], 9)
    why = {"raises": "raised", "stalls": "too_slow"}.get(mode, "broke_contract")
    disabled = [event for event in map(ev.decode, sink.lines) if isinstance(event, ev.PluginDisabled)]
    assert [(event.plugin, event.hook, event.why) for event in disabled] == [("oracle", "propose_drafts", why)]


def test_nobody_is_asked_for_more_than_is_wanted_or_fits() -> None:
    seen: list[int] = []

    class Asking(Fixed):
        def propose_drafts(self, asked):
            seen.extend(each.most for each in asked)
            return [None] * len(asked)

    engine = drafting(scripted_engine(block_size=4, max_context=12), Asking(1))
    engine.submit(spec([1] * 6, 9))
    engine.submit(spec([1] * 3, 4))
    engine.run()
    assert max(seen) == 4
    assert min(seen) > 0


def test_a_request_with_scaled_stages_is_not_asked_for() -> None:
    """A branch of a draft tree has rows outside of its slots, which nobody scales."""
    seen: set[str] = set()

    class Asking(Fixed):
        def propose_drafts(self, asked):
            seen.update(each.request for each in asked)
            return [None] * len(asked)

    engine = drafting(scripted_engine(block_size=4, layers=1), Asking(1))
    (whole,) = engine.submit(spec([1] * 6, 9))
    for _ in range(4):
        engine.step()
    scaled = engine.fork(ForkSpec(whole, at_position=8, scales=(Scale(0, "mlp_out", 0.5),)))
    plain = engine.fork(ForkSpec(whole, at_position=8, token=3))
    engine.run()
    assert seen == {whole, plain}
    assert scaled not in seen


def test_accept_rate_counts_what_was_verified_since_the_start() -> None:
    engine = drafting(scripted_engine(block_size=4), Oracle(0.6))
    rate = accept_rate_of(engine)
    assert rate() is None
    engine.submit(spec(range(10), 40))
    engine.run()
    totals = engine.state.totals
    assert 0 < totals.accepted_tokens < totals.drafted_tokens
    assert rate() == totals.accepted_tokens / totals.drafted_tokens


def accept_rate_of(engine: Engine):
    """What the debugger's expression is worth now."""
    expression = check("accept_rate", KNOWN)
    return lambda: evaluate(expression, Moment(engine.state, (), bool, str, SeenStages()))


def test_a_draft_that_was_cut_is_a_decision_and_any_other_is_none(tmp_path: Path) -> None:
    about = header(64, block_size=4, token_budget=4)
    writer = writer_on(tmp_path / "run.wbs", about)
    engine = drafting(engine_on(writer, about), Fixed(3))
    for prompt in ([1, 2], [3, 4]):
        engine.submit(spec(prompt, 9))
    said = said_by(engine)
    writer.close()
    cut = [event for event in said if isinstance(event, ev.Drafted) and event.cut is not None]
    with Session.open(tmp_path / "run.wbs") as session:
        steps = range(1, session.last_step(0) + 1)
        decided = [
            each for step in steps for each in session.decisions(step) if isinstance(each.event, ev.Drafted)
        ]
    assert [each.event for each in decided] == cut
    assert {each.code for each in decided} == {"token_budget_spent"}
