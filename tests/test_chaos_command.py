"""The command `chaos` on the bundled model: what it prints, and what makes it fail."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.chaos_run import run_chaos, run_plain
from engine.engine import Engine
from engine.executor import TorchExecutor
from engine.load import load
from engine.model import attention
from engine.model.reads import Read
from engine.params import EngineOptions, RequestSpec, SamplingParams
from tests.bundled import FOLDER
from tests.commands import Ran, run
from tests.test_invariance import CODE
from workbench.cli.chaos_result import ChaosResult, PartingResult, RoundResult, print_chaos

LINES: Sequence[dict[str, object]] = (
    {"prompt_ids": CODE, "max_tokens": 6, "ignore_eos": True},
    {"prompt_ids": [*CODE[:17], 7, 8, 9], "max_tokens": 6, "ignore_eos": True, "temperature": 0.9, "n": 2},
    {"prompt_ids": CODE[::-1], "max_tokens": 4, "ignore_eos": True, "arrival_step": 3},
)


@pytest.fixture
def workload(tmp_path: Path) -> Path:
    path = tmp_path / "work.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)))
    return path


def chaos(workload: Path, *more: object) -> Ran:
    return run("chaos", "--workload", workload, "--block-size", 4, "--kv-blocks", 40, "--threads", 1, *more)


def test_tokens_of_the_model_survive_chaos(workload: Path) -> None:
    ran = chaos(workload, "--rounds", 3, "--json")
    found = json.loads(ran.out)
    assert (ran.code, found["holds"], found["compared"], found["tokens"]) == (0, True, "tokens", 22)
    assert len({round_["computed_tokens"] for round_ in found["rounds"]}) > 1
    assert sum(round_["preemptions"] for round_ in found["rounds"])
    assert sum(round_["evicted_blocks"] for round_ in found["rounds"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_with_invariant_all_logits_survive_to_the_bit(workload: Path, dtype: str) -> None:
    ran = chaos(workload, "--rounds", 2, "--invariant", "--dtype", dtype)
    assert ran.code == 0, ran.out
    assert "2 rounds: 22 tokens each, and their logits, the same to the bit" in ran.out


def test_without_invariant_logits_do_move() -> None:
    """Else the test above would hold nothing."""
    hashes = []
    for runner in (run_plain, lambda engine, feed: run_chaos(engine, feed, "0 1")):
        engine = load(FOLDER, EngineOptions(dtype="float32", kv_blocks=40, threads=1))
        ran = runner(engine, _submit_once(engine))
        hashes.append([chosen.logits_hash for chosen in ran.chosen["1"]])
    assert hashes[0] != hashes[1]


def _submit_once(engine: Engine):  # type: ignore[no-untyped-def]
    engine.submit(RequestSpec(tuple(CODE), SamplingParams(max_tokens=6, ignore_eos=True)))
    return lambda _engine: None


def test_a_model_that_goes_by_the_schedule_is_caught(workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode is right and prefills are: but a chunk that starts in the middle of a prompt sees a wrong mask."""
    right = attention._prefill

    def wrong(q, key, value, read: Read):  # type: ignore[no-untyped-def]
        return right(q, key, value, read) if read.causal else right(q, key, value, read) * 0.5

    monkeypatch.setattr(attention, "_prefill", wrong)
    ran = chaos(workload, "--rounds", 4, "--no-prefix-cache", "--json")
    found = json.loads(ran.out)
    assert (ran.code, found["holds"]) == (1, False)
    parting = next(each for round_ in found["rounds"] for each in round_["partings"] if not each["allowed"])
    assert parting["plain"] != parting["chaos"]
    assert not parting["near_tie"]
    assert parting["margin"] > 1e-4


def test_a_step_that_fails_under_chaos_fails_the_round(workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executed, steps = TorchExecutor.begin, []

    def failing(self, job):  # type: ignore[no-untyped-def]
        steps.append(job)
        if len(steps) == 25:
            raise MemoryError("no more memory")
        return executed(self, job)

    monkeypatch.setattr(TorchExecutor, "begin", failing)
    ran = chaos(workload, "--rounds", 2)
    assert ran.code == 1
    assert "failed: no more memory" in ran.out


@pytest.mark.parametrize(("arguments", "line"), [
    (("--rounds", 0), "workbench: --rounds is 0: it must be between 1 and 100000\n"),
    (("--kv-blocks", 2), "line 1: the prompt needs 6 KV blocks of 4 tokens; the pool has 2"),
])  # fmt: skip
def test_bad_input_is_one_line(workload: Path, arguments: tuple[object, ...], line: str) -> None:
    ran = chaos(workload, *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert line in ran.err


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    tie = PartingResult("1", 24, 7, 9, 3e-5, near_tie=True, allowed=True)
    real = PartingResult("2.1", 30, 7, None, 0.5, near_tie=False, allowed=False)
    rounds = (
        RoundResult(1, 9, 1, 2, 50, ()),
        RoundResult(2, 8, 0, 0, 40, (tie,)),
        RoundResult(3, 8, 0, 0, 41, (real,)),
    )
    size = "the plain run's top two are 3e-05 apart, a near tie"
    tied = f"round 2: request 1, position 24: token 9 for token 7; {size}"
    print_chaos(ChaosResult(True, "tokens", 0, 6, 20, rounds[:2]))
    print_chaos(ChaosResult(False, "tokens", 0, 6, 20, rounds))
    assert capsys.readouterr().out.splitlines() == [
        "round  steps  preempted  evicted  computed  result",
        "    1      9          1        2        50  the same",
        "    2      8          0        0        40  near ties only",
        tied,
        "2 rounds: 20 tokens each, the same but for 1 near tie and what follows",
        "round  steps  preempted  evicted  computed  result",
        "    1      9          1        2        50  the same",
        "    2      8          0        0        40  near ties only",
        "    3      8          0        0        41  differs",
        tied,
        "round 3: request 2.1, position 30: nothing for token 7; the plain run's top two are 0.5 apart",
        "1 of 3 rounds differ from the plain run",
    ]
