"""On the bundled model, the tokens of a request do not depend on how it was scheduled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import commit
from engine.engine import Engine
from engine.executor import TorchExecutor
from engine.kv import prefix
from engine.model import batch as batches
from engine.params import RequestSpec, SamplingParams
from tests.bundled import Run, bundled_engine, run_all

CODE = [301, 77, 912, 45, 45, 1333, 8, 260, 301, 77, 912, 2024, 99, 14, 555, 301, 77, 912, 45, 600, 601, 602]
MOST_NEAR_TIES = 0.005


@dataclass
class Tally:
    """How many tokens were compared, and how many runs parted at a near tie."""

    compared: int = 0
    near_ties: int = 0


@st.composite
def specs(draw: st.DrawFn) -> RequestSpec:
    """Prompts that share prefixes; greedy, or sampled with stages switched on."""
    prompt = CODE[: draw(st.integers(1, len(CODE)))] + draw(st.lists(st.integers(3, 4000), max_size=6))
    params = SamplingParams(
        max_tokens=draw(st.integers(1, 10)),
        temperature=draw(st.sampled_from([0.0, 0.0, 0.7, 1.2])),
        top_k=draw(st.sampled_from([0, 30])),
        top_p=draw(st.sampled_from([1.0, 0.9])),
        min_p=draw(st.sampled_from([0.0, 0.02])),
        repetition_penalty=draw(st.sampled_from([1.0, 1.3])),
        frequency_penalty=draw(st.sampled_from([0.0, 0.5])),
        seed=draw(st.integers(0, 3)),
        ignore_eos=True,
    )
    return RequestSpec(tuple(prompt), params, draw(st.sampled_from([1, 1, 1, 2, 3])), draw(st.integers(0, 1)))


schedules = st.fixed_dictionaries(
    {
        "block_size": st.sampled_from([1, 3, 4, 16]),
        "token_budget": st.sampled_from([3, 8, 40, 200]),
        "max_running": st.integers(3, 8),
        "chunked_prefill": st.booleans(),
        "prefix_cache": st.booleans(),
        "policy": st.sampled_from(["fcfs", "lpm"]),
    }
)


def alone(specs_: Sequence[RequestSpec]) -> Run:
    """Every request, and every sample, in an engine of its own: no batch, no sharing, no preemption."""
    together = Run()
    for number, spec in enumerate(specs_, 1):
        engine = bundled_engine(64, prefix_cache=False, token_budget=512)
        engine.state.next_request = number
        run = run_all(engine, [spec])
        together.outputs.update(run.outputs)
        together.details.update(run.details)
    return together


def compare(scheduled: Run, reference: Run, tally: Tally) -> None:
    """Equal tokens; where they part, both sides must have said that it was a near tie."""
    for request, expected in reference.outputs.items():
        actual = scheduled.outputs[request]
        start = min(position for id_, position in reference.details if id_ == request)
        for offset, (token, wanted) in enumerate(zip(actual, expected, strict=True)):
            tally.compared += 1
            if token == wanted:
                continue
            key = (request, start + offset)
            assert scheduled.details[key].near_tie or reference.details[key].near_tie, (
                f"{key}: {token} for {wanted}"
            )
            tally.near_ties += 1
            break


def scheduled_run(specs_: Sequence[RequestSpec], setup: dict[str, object], slack: int) -> Run:
    size = int(str(setup["block_size"]))
    need = max(-(-(len(s.prompt_ids) + s.params.max_tokens) // size) + s.n for s in specs_)
    return run_all(bundled_engine(need + slack // size, **setup), specs_)


def test_tokens_do_not_depend_on_the_schedule() -> None:
    tally = Tally()

    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(specs(), min_size=1, max_size=5), schedules, st.integers(0, 60))
    def check(specs_: list[RequestSpec], setup: dict[str, object], slack: int) -> None:
        compare(scheduled_run(specs_, setup, slack), alone(specs_), tally)

    check()
    assert tally.compared > 300
    assert tally.near_ties <= MOST_NEAR_TIES * tally.compared, tally


# -- the comparison above notices faults -----------------------------------------------------------------

SHARED = [
    RequestSpec(tuple(CODE), SamplingParams(max_tokens=12, ignore_eos=True, temperature=0.9, seed=1), 3),
    RequestSpec((*CODE[:17], 7, 8, 9), SamplingParams(max_tokens=12, ignore_eos=True)),
]
SETUP: dict[str, object] = {"block_size": 4, "token_budget": 40, "max_running": 8}


def fails() -> bool:
    """Whether running SHARED twice on one engine, the second time on a warm cache, gives other tokens."""
    engine = bundled_engine(40, **SETUP)
    reference = alone(SHARED)
    try:
        compare(run_all(engine, SHARED), reference, Tally())
        engine.state.next_request = 1
        compare(run_all(engine, SHARED), reference, Tally())
    except (AssertionError, KeyError):
        return True
    return False


def test_without_a_fault_nothing_is_reported() -> None:
    assert not fails()


def test_an_off_by_one_in_the_block_table_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = batches._write_slots

    def shifted(spans: Sequence[batches.Span], block_size: int) -> list[int]:
        return [slot ^ 1 if slot % 7 == 0 else slot for slot in right(spans, block_size)]

    monkeypatch.setattr(batches, "_write_slots", shifted)
    assert fails()


def test_a_missed_copy_on_write_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.kv.pool.KVPool.copy_block", lambda *_: None)
    assert fails()


def test_a_stale_prefix_hit_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that leave out the token just before a block's end, and no verification against the tokens."""
    from engine.kv import radix

    honest = radix.chain_hash

    def forgetful(previous: int, tokens: Sequence[int]) -> int:
        return honest(previous, list(tokens[:-1]))

    for module in (radix, commit):
        monkeypatch.setattr(module, "chain_hash", forgetful)
    monkeypatch.setattr(prefix, "_verified", lambda _state, _log, _tokens, walk: walk)
    stale = [RequestSpec((*CODE[:15], 1, *CODE[16:]), SHARED[1].params), SHARED[1]]
    engine: Engine = bundled_engine(40, **SETUP)
    reference = alone(stale)
    engine.submit(stale[0])
    engine.run()
    engine.submit(stale[1])
    engine.run()
    assert list(engine.tokens.tokens_of("2"))[20:] != reference.outputs["2"]


def test_the_executor_is_the_real_one() -> None:
    assert isinstance(bundled_engine(4)._executor, TorchExecutor)
