"""Chaos: plans nobody needs, which are legal all the same and change no token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.chaos import ChaosScheduler
from engine.chaos_run import Chosen, Parting, Ran, partings, run_chaos, run_plain
from engine.engine import Engine
from engine.execution import Slice
from engine.params import RequestSpec, SamplingParams
from tests.scripted import ScriptedExecutor, expected_output, scripted_engine, spec

SHARED = [
    spec(range(10), 12),
    spec([*range(10), 7, 7, 7], 14),
    spec([3] * 17, 9, n=3),
    spec(range(12), 6, priority=1),
]


def feeding(specs: Sequence[RequestSpec]) -> Callable[[Engine], None]:
    """Submits `specs` at once."""
    left = list(specs)

    def feed(engine: Engine) -> None:
        while left:
            engine.submit(left.pop(0))

    return feed


def check_all(engine: Engine) -> None:
    engine.state.check_invariants()
    assert len(engine.state.running) <= engine.options.max_running


def small_engine(**options: object) -> Engine:
    return scripted_engine(24, **{"block_size": 4, "token_budget": 20, "max_running": 5} | options)


def test_every_plan_is_legal_and_every_token_right() -> None:
    """200 rounds on an executor that reads every slot back: tables, copies, prefix hits and evictions."""
    happened: Counter[str] = Counter()
    for seed in range(200):
        engine = small_engine()
        ran = run_chaos(engine, feeding(SHARED), str(seed), check_all)
        happened += ran.happened
        for id_, chosen in ran.chosen.items():
            number, _, sample = id_.partition(".")
            asked = SHARED[int(number) - 1]
            wanted = expected_output(asked.prompt_ids, asked.params.max_tokens, int(sample or 0))
            assert [each.token for each in chosen] == wanted, (seed, id_)
    assert happened["preempted"] > 200
    assert happened["evicted"] > 100
    assert happened["copied"] > 100


@settings(max_examples=40)
@given(
    st.lists(st.builds(spec, st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 12),
                       st.sampled_from([1, 1, 2])), min_size=1, max_size=6),
    st.fixed_dictionaries({
        "block_size": st.sampled_from([1, 3, 4]),
        "token_budget": st.sampled_from([1, 5, 64]),
        "chunked_prefill": st.booleans(),
        "prefix_cache": st.booleans(),
        "policy": st.sampled_from(["fcfs", "lpm"]),
    }),
    st.text(max_size=3),
)  # fmt: skip
def test_no_workload_and_no_options_make_chaos_change_a_token(
    specs: list[RequestSpec], options: dict[str, object], seed: str
) -> None:
    plain = run_plain(scripted_engine(60, **options), feeding(specs))
    engine = scripted_engine(60, **options)
    chaos = run_chaos(engine, feeding(specs), seed, check_all)
    assert list(partings(plain, chaos, engine.tokens)) == []


def test_a_round_can_be_had_again_by_its_seed() -> None:
    first, again, other = (run_chaos(small_engine(), feeding(SHARED), seed) for seed in ("a", "a", "b"))
    assert first.happened == again.happened
    assert first.steps == again.steps
    assert first.happened != other.happened


def test_it_is_the_same_chaos_after_going_back() -> None:
    scheduler = ChaosScheduler(small_engine().options, small_engine().tokens, None, "a")
    assert scheduler.over(small_engine().tokens).seed == "a"


def test_the_numbers_of_a_reason_are_those_of_the_step() -> None:
    """The budget is drawn anew for each step, and every plan keeps to the one it names."""
    engine = small_engine()
    engine.scheduler = ChaosScheduler(engine.options, engine.tokens, None, "x")
    feeding(SHARED)(engine)
    budgets = set()
    while (step := engine.step()) is not None:
        for event in step.plan.events:
            if hasattr(event, "budget"):
                budgets.add(event.budget)
                assert sum(work.tokens for work in step.plan.batch) <= event.budget <= engine.options.token_budget
    assert len(budgets) > 5


class ForgetfulExecutor(ScriptedExecutor):
    """Reads a prefill's first slot as if it had never been written, unless the prefill starts the request."""

    def _slot(self, part: Slice, position: int) -> int:
        chunked = part.work.phase == "prefill" and part.work.start > 0 and position == part.work.start - 1
        return 0 if chunked else super()._slot(part, position)


def test_a_model_that_forgets_what_another_chunk_computed_is_caught() -> None:
    plain = run_plain(small_engine(prefix_cache=False, token_budget=200), feeding(SHARED[:1]))
    found = []
    for seed in range(20):
        engine = small_engine(prefix_cache=False, token_budget=200)
        engine._executor = ForgetfulExecutor(24, 4)
        chaos = run_chaos(engine, feeding(SHARED[:1]), str(seed))
        found += partings(plain, chaos, engine.tokens)
    assert found
    assert {parting.request for parting in found} == {"1"}
    assert not any(parting.near_tie for parting in found)


def chosen(*tokens: int, near: int | None = None, hash_: int = 1) -> Ran:
    return Ran({"1": [Chosen(token, hash_, 0.5, near_tie=index == near) for index, token in enumerate(tokens)]})


@pytest.mark.parametrize(
    ("plain", "chaos", "to_the_bit", "expected"),
    [
        (chosen(4, 5), chosen(4, 5), True, []),
        (chosen(4, 5), chosen(4, 6), False, [(11, False)]),
        (chosen(4, 5, near=1), chosen(4, 6), False, [(11, True)]),
        (chosen(4, 5), chosen(4, 6, near=1), False, [(11, True)]),
        (chosen(4, 5), chosen(4), False, [(11, False)]),
        (chosen(4, 5), chosen(4, 5, hash_=2), False, []),
        (chosen(4, 5), chosen(4, 5, hash_=2), True, [(10, False)]),
    ],
)
def test_partings(plain: Ran, chaos: Ran, to_the_bit: bool, expected: list[tuple[int, bool]]) -> None:
    engine = small_engine()
    engine.submit(RequestSpec(tuple(range(10)), SamplingParams()))
    found: list[Parting] = list(partings(plain, chaos, engine.tokens, to_the_bit))
    assert [(parting.position, parting.near_tie) for parting in found] == expected
