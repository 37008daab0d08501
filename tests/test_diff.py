"""`diff`: where two recorded runs part, said of real runs of the bundled model, and of altered ones."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from engine.divergence_rebuild import Rebuilt
from engine.engine import Engine
from engine.forking import ForkSpec
from engine.interventions import Scale
from engine.model.stage_names import OUTSIDE
from engine.params import EngineOptions, SamplingParams
from engine.protocol import RequestText
from sessions.diff_compare import compare_pair, first_difference
from sessions.diff_distributions import Recorded, divergence
from sessions.diff_plans import plan_of
from sessions.diff_result import DiffResult
from sessions.diff_side import Side
from sessions.diff_whole import Whole, whole_divergence
from sessions.diff_words import verdict
from sessions.errors import SessionError
from sessions.reader import Session
from sessions.redaction import redact
from tests import bundled
from tests.test_view_tokens import chosen
from workbench.cli.assemble import open_session
from workbench.cli.diff import DiffOrder, diff_sessions
from workbench.cli.diff_models import distance_from_record
from workbench.cli.errors import CommandError
from workbench.cli.folders import DEFAULT_MODEL
from workbench.cli.order import make_order
from workbench.cli.record import record

PROMPTS = (
    "def fibonacci(n):\n    if n < 2:\n",
    "def fibonacci(n):\n    if n < 3:\n        return",
    "class Stack:\n    def push(self, item):\n",
)
REQUESTS = tuple(
    RequestText(prompt=prompt, params=SamplingParams(max_tokens=10, ignore_eos=True)) for prompt in PROMPTS
)
DAMAGED = "model.layers.3.mlp.down_proj.weight"


def run(
    path: Path, model: Path = DEFAULT_MODEL, requests: Sequence[RequestText] = REQUESTS, **options: Any
) -> Path:
    settings = {"kv_blocks": 64, "dtype": "float32", "threads": 1} | options
    order, _ = make_order(model, EngineOptions(**settings), requests, path)  # type: ignore[arg-type]
    return record(order).session


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("diff")


@pytest.fixture(scope="module")
def together(folder: Path) -> Path:
    return run(folder / "together.wbs")


@pytest.fixture(scope="module")
def alone(folder: Path) -> Path:
    return run(folder / "alone.wbs", max_running=1, prefix_cache=False, token_budget=8)


@pytest.fixture(scope="module")
def damaged(folder: Path) -> Path:
    """The same requests on a model with one projection damaged."""
    model = folder / "damaged"
    shutil.copytree(DEFAULT_MODEL, model)
    tensors = load_file(model / "model.safetensors")
    tensors[DAMAGED] = tensors[DAMAGED].flip(1).contiguous()
    save_file(tensors, model / "model.safetensors")
    return run(folder / "damaged.wbs", model)


@pytest.fixture
def opened(together: Path, damaged: Path) -> Iterator[tuple[Side, Side]]:
    with Session.open(together) as a, Session.open(damaged) as b:
        yield Side(a), Side(b)


def diff(capsys: pytest.CaptureFixture[str], a: Path, b: Path | None = None, **order: Any) -> tuple[int, Any]:
    code = diff_sessions(DiffOrder(str(a), None if b is None else str(b), **order), json=True)
    return code, json.loads(capsys.readouterr().out)


# -- the command -------------------------------------------------------------------------------------------


def test_another_schedule_is_identical(together: Path, alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = diff(capsys, together, alone)

    assert code == 0
    assert (found["identical"], found["first_token"], found["first_stage"]) == (True, None, None)
    assert [(pair["a"], pair["b"]) for pair in found["pairs"]] == [("1", "1"), ("2", "2"), ("3", "3")]
    positions = [each for pair in found["pairs"] for each in pair["positions"]]
    assert len(positions) == 30
    assert all(each["same_top"] and each["kl"] < 1e-8 and each["rank_a"] == each["rank_b"] for each in positions)


def test_a_damaged_weight_is_named(together: Path, damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = diff(capsys, together, damaged)

    assert code == 1
    assert not found["identical"]
    first = found["first_stage"]
    assert (first["layer"], first["stage"], first["beyond_rounding"]) == (3, "mlp_out", True)
    assert first["max_abs"] > 0
    assert first["rel"] > first["floor"]
    assert -1 <= first["cosine"] < 1
    assert (found["search"]["a"]["worst"], found["search"]["b"]["worst"]) == (0, 0)


def test_the_first_token_is_where_the_records_part(
    opened: tuple[Side, Side], together: Path, damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = opened
    _, found = diff(capsys, together, damaged, stages=False)

    parts = []
    for request in ("1", "2", "3"):
        one, other = list(a.session.tokens_of(request)), list(b.session.tokens_of(request))
        at = next(i for i, (x, y) in enumerate(zip(one, other, strict=True)) if x != y)
        row = a.session.token(request, at)
        assert row is not None
        parts.append((row.chosen_step, at, request, one[at], other[at], row.margin))
    _, at, request, token_a, token_b, margin = min(parts)
    first = found["first_token"]
    assert (first["request"], first["position"], first["a"], first["b"]) == (request, at, token_a, token_b)
    assert first["margin_a"] == margin
    assert found["search"] is None


def test_another_type_differs_by_rounding(
    together: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = run(folder / "bf16.wbs", dtype="bfloat16")

    _, found = diff(capsys, together, other, at="1:20")

    assert found["first_stage"] is not None
    assert not found["first_stage"]["beyond_rounding"]
    assert not any(each["beyond"] for each in found["search"]["divergence"]["stages"])


def test_an_invariant_run_is_rebuilt_with_its_own_kernels(
    together: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = run(folder / "invariant.wbs", invariant=True)

    code, found = diff(capsys, together, other, at="2:22")

    assert code == 0
    assert (found["search"]["a"]["worst"], found["search"]["b"]["worst"]) == (0, 0)
    assert not any(each["beyond"] for each in found["search"]["divergence"]["stages"])


def test_transformers_agrees(together: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = diff(capsys, together, reference="transformers")

    assert code == 0
    assert found["identical"]
    assert found["b"] == "transformers"
    assert [len(pair["positions"]) for pair in found["pairs"]] == [10, 10, 10]


def test_the_stages_of_a_choice_are_searched_against_transformers(
    together: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = diff(capsys, together, reference="transformers", at="2:24")

    divergence_ = found["search"]["divergence"]
    assert divergence_["row"] == 23
    assert {each["stage"] for each in divergence_["stages"]} >= {
        "embed",
        "q_rot",
        "attn_out",
        "mlp_out",
        "logits",
    }
    assert not any(each["beyond"] for each in divergence_["stages"])


def test_the_same_run_has_no_first_stage(together: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = diff(capsys, together, together, at="3:22")

    assert (code, found["first_stage"]) == (0, None)
    assert found["search"]["divergence"]["first"] is None


def test_whole_logits_are_worked_out_again_to_the_bit(
    together: Path, alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = diff(capsys, together, alone, logits=True)

    assert code == 0
    assert found["reruns"] == [{"positions": 30, "equal": 30, "worst": 0.0}] * 2
    positions = [each for pair in found["pairs"] for each in pair["positions"]]
    assert all(each["basis"] == "recomputed" for each in positions)
    assert all(0 <= each["kl"] < 1e-9 for each in positions)


def test_requests_with_other_prompts_part_in_the_prompt(
    together: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = diff(capsys, together, together, pairs=["1:2"])

    assert code == 1
    assert found["first_token"]["prompt"]
    assert found["first_token"]["margin_a"] is None
    assert "there is no row to compare" in found["search"]["why_not"]


def test_requests_are_paired_by_prompt_where_their_numbers_differ(
    together: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turned = run(folder / "turned.wbs", requests=REQUESTS[::-1][:2])

    code, found = diff(capsys, together, turned)

    assert code == 1  # request 1 has no partner
    assert [(pair["a"], pair["b"]) for pair in found["pairs"]] == [("2", "2"), ("3", "1")]
    assert (found["only_a"], found["only_b"]) == (["1"], [])


def test_without_the_model_the_tokens_are_compared_all_the_same(
    damaged: Path, together: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "damaged").rename(folder / "away")
    try:
        code, found = diff(capsys, together, damaged)
        named, with_model = diff(capsys, together, damaged, model=str(folder / "away"))
    finally:
        (folder / "away").rename(folder / "damaged")

    assert (code, found["first_stage"]) == (1, None)
    assert "that folder is not there" in found["search"]["why_not"]
    assert (named, with_model["first_stage"]["stage"]) == (1, "mlp_out")


def test_the_report_for_people_says_the_same(
    together: Path, damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert diff_sessions(DiffOrder(str(together), str(damaged)), json=False) == 1

    said = capsys.readouterr().out
    assert "different: 3 of 3 pairs of requests part" in said
    assert "first differing stage: layer 3 mlp_out" in said
    assert "logits as recorded to the bit" in said
    assert "✗ beyond rounding" in said


def test_transformers_is_spoken_of_by_positions(together: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert diff_sessions(DiffOrder(str(together), reference="transformers"), json=False) == 0

    assert "identical: at all of 30 positions the same token is likeliest" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({}, "give one of both"),
        ({"b": "x", "reference": "transformers"}, "give one of both"),
        ({"reference": "other"}, "only transformers is known"),
        ({"reference": "transformers", "pairs": ["1:1"]}, "--pair names requests of two sessions"),
        ({"reference": "transformers", "logits": True}, "--logits runs two sessions again"),
        ({"b": "SELF", "pairs": ["1"]}, "--pair is '1'"),
        ({"b": "SELF", "pairs": ["1:9"]}, "has no request 9"),
        ({"b": "SELF", "at": "9:1"}, "--at is '9:1': the requests of A that are compared are 1, 2, 3"),
        ({"b": "SELF", "at": "1:x"}, "--at is '1:x': write a request of A and a position"),
        ({"b": "SELF", "at": "1:" + "9" * 5000}, "write a request of A and a position"),
        ({"b": "SELF", "at": "1:9999"}, "--at is '1:9999': request 1 of A chose tokens at positions 16 to 25"),
        ({"b": "SELF", "at": "1:2"}, "--at is '1:2': request 1 of A chose tokens at positions 16 to 25"),
        (
            {"b": "SELF", "at": "1:20", "model": "tiny-python-draft"},
            "its hashes are those of none of the sessions",
        ),
    ],
)
def test_wrong_use_is_one_clear_line(together: Path, order: dict[str, Any], message: str) -> None:
    order = {name: str(together) if value == "SELF" else value for name, value in order.items()}
    with pytest.raises((CommandError, SessionError), match=message):
        diff_sessions(DiffOrder(str(together), **order), json=True)


def test_a_session_without_its_text_is_compared_with_itself_only(
    together: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = shutil.copy(together, tmp_path / "hidden.wbs")
    redact(hidden)

    for order in ({"b": str(together)}, {"reference": "transformers"}):
        with pytest.raises(CommandError, match="its text was taken out"):
            diff_sessions(DiffOrder(str(hidden), **order), json=True)  # type: ignore[arg-type]
    code, found = diff(capsys, hidden, hidden, at="1:20")

    assert code == 0
    assert "nothing to run again" in found["search"]["why_not"]


def test_comparing_tokens_needs_no_torch(together: Path, alone: Path) -> None:
    code = (
        "import sys, main; code = main.run_command(main.app, sys.argv[1:], default='run');"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "diff", str(together), str(alone), "--json"]

    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["identical"]


def test_progress_is_told_line_by_line_where_asked(
    together: Path, damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    diff_sessions(DiffOrder(str(together), str(damaged), progress=True), json=True)

    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.endswith("…")] == [
        "comparing …", "loading both models and running them again …",
    ]  # fmt: skip


# -- rebuilding a run from its plans -----------------------------------------------------------------------


def test_every_row_of_a_busy_run_is_rebuilt_to_the_bit(demo_session: Path) -> None:
    """With chunks, shared prefixes, evictions and preemptions in it: from the steps the row depends on alone."""
    with Session.open(demo_session) as session:
        side, checked = Side(session), 0
        for row in session.requests():
            tokens = session.tokens(row.request)
            for token in tokens[:: max(1, len(tokens) // 3)]:
                plan = plan_of(session, row.request, token.position - 1)
                rebuilt = Rebuilt(
                    bundled.decoder(), session.header.num_blocks, session.header.options.block_size, plan.jobs,
                    plan.request, token.position - 1, threads=session.header.options.threads,
                )  # fmt: skip
                logits = rebuilt.row(token.position - 1).stages[OUTSIDE, "logits"].numpy().tobytes()
                assert distance_from_record(side, row.request, token.position, logits) == 0, token
                checked += 1
        last = session.step_row(session.last_step())
    assert last is not None
    assert last.preemptions > 0
    assert last.evicted_blocks > 0
    assert checked > 20


def test_a_plan_leaves_out_steps_that_the_row_does_not_depend_on(alone: Path) -> None:
    with Session.open(alone) as session:
        plan = plan_of(session, "3", len(session.tokens_of("3")) - 2)
        everything = plan_of(session, "3", len(session.tokens_of("3")) - 2, every_step=True)
        submitted = session.request("3").admitted_step
    assert submitted is not None
    assert min(plan.steps) == submitted
    assert len(plan.steps) < len(everything.steps)
    assert plan.steps[-1] == everything.steps[-1]


def test_a_row_that_chose_nothing_has_no_plan(together: Path) -> None:
    with (
        Session.open(together) as session,
        pytest.raises(SessionError, match="has chosen no token at position 1"),
    ):
        plan_of(session, "1", 0)


# -- forks and branches ------------------------------------------------------------------------------------


def test_forks_and_branches_are_read_whole_and_rebuilt(tmp_path: Path) -> None:
    """A fork has its parent's tokens before it; the newest branch has what it continues."""
    path = tmp_path / "run.wbs"
    order, _ = make_order(DEFAULT_MODEL, EngineOptions(kv_blocks=64, threads=1), REQUESTS, path)
    opened = open_session(order, lambda _message: None)
    engine = opened.engine
    opened.feeder.feed(engine)
    engine.run(6)
    forked = engine.fork(ForkSpec("3", at_position=len(engine.tokens.tokens_of("3")) - 2, token=7))
    engine.run(5)
    engine.rewind(9)
    engine.run()
    tokens = {request: list(engine.tokens.tokens_of(request)) for request in ("1", "2", "3", forked)}
    engine.close()

    with Session.open(path) as session:
        side = Side(session)
        assert side.branch == 1
        assert {row.request: list(side.ids(row.request)) for row in side.requests()} == tokens
        for request, ids in tokens.items():
            plan = plan_of(session, request, len(ids) - 2, branch=side.branch)
            run_again = Rebuilt(bundled.decoder(), 64, 16, plan.jobs, plan.request, plan.position, threads=1)
            logits = run_again.row(plan.position).stages[OUTSIDE, "logits"].numpy().tobytes()
            worst = distance_from_record(side, request, len(ids) - 1, logits)
            assert worst is not None
            assert worst < 1e-4


def midway(path: Path, steps: int) -> tuple[Engine, int]:
    """The engine that records the first request to `path`, after some steps; and its last token but one."""
    order, _ = make_order(DEFAULT_MODEL, EngineOptions(kv_blocks=64, threads=1), REQUESTS[:1], path)
    opened = open_session(order, lambda _message: None)
    opened.feeder.feed(opened.engine)
    opened.engine.run(steps)
    return opened.engine, len(opened.engine.tokens.tokens_of("1")) - 2


def test_the_id_of_a_fork_that_was_left_may_be_another_request_now(tmp_path: Path) -> None:
    path = tmp_path / "run.wbs"
    engine, at = midway(path, steps=6)
    forked = engine.fork(ForkSpec("1", at_position=at, token=7))
    engine.run(2)
    engine.rewind(4)
    (submitted,) = engine.submit(bundled.greedy([9, 8, 7], 3))
    engine.run()
    tokens = list(engine.tokens.tokens_of(submitted))
    engine.close()

    assert submitted == forked
    with Session.open(path) as session:
        assert list(Side(session).ids(submitted)) == tokens
        left = Side(session, 0)
        assert list(left.ids(forked))[: at + 1] == [*left.ids("1")[:at], 7]


def test_a_stage_switched_off_in_a_fork_is_what_parts_it_from_its_parent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fork.wbs"
    engine, at = midway(path, steps=6)
    forked = engine.fork(ForkSpec("1", at_position=at, scales=(Scale(4, "attn_out", 0.0, head=1),)))
    engine.run()
    engine.close()

    _, found = diff(capsys, path, path, pairs=[f"1:{forked}"], at=f"1:{at}")

    first = found["first_stage"]
    assert (first["layer"], first["stage"], first["position"]) == (4, "attn_out", at - 1)
    assert first["beyond_rounding"]


def test_a_token_that_a_fork_set_has_no_stages_and_those_before_it_are_its_parents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fork.wbs"
    engine, at = midway(path, steps=8)
    forked = engine.fork(ForkSpec("1", at_position=at, token=7))
    second = engine.fork(ForkSpec(forked, at_position=at + 1, token=9))
    engine.run()
    engine.close()

    _, found = diff(capsys, path, path, pairs=[f"1:{forked}"])
    assert found["first_token"]["position"] == at
    assert found["search"]["why_not"] == (
        f"the token at position {at} of request {forked} was set when {forked} forked from 1: no stage chose it"
    )
    _, found = diff(capsys, path, path, pairs=[f"{forked}:{second}"], at=f"{forked}:{at}")
    assert f"of request {forked} was set when {forked} forked from 1" in found["search"]["why_not"]
    _, found = diff(capsys, path, path, pairs=[f"1:{second}"], at=f"1:{at - 1}")
    divergence = found["search"]["divergence"]
    assert (divergence["row"], divergence["first"]) == (at - 2, None)
    assert found["search"]["b"]["worst"] == found["search"]["a"]["worst"] == 0


# -- distributions -----------------------------------------------------------------------------------------


logits = st.lists(st.floats(-8, 8, width=32), min_size=30, max_size=30)


@given(logits, logits)
def test_the_divergence_of_the_recorded_part_is_a_lower_bound(a: list[float], b: list[float]) -> None:
    whole_a, whole_b = (Whole(np.array(each, np.float32), "recomputed") for each in (a, b))
    exact = whole_divergence(whole_a, whole_b)
    known = divergence(_top(a), whole_b), divergence(_top(a), _top(b))

    expected = torch.nn.functional.kl_div(
        torch.tensor(b, dtype=torch.float64).log_softmax(0), torch.tensor(a, dtype=torch.float64).log_softmax(0),
        reduction="sum", log_target=True,
    )  # fmt: skip
    assert exact == pytest.approx(max(0.0, float(expected)), abs=1e-9)
    assert all(0 <= bound <= exact + 1e-4 for bound in known)
    assert divergence(_top(a), whole_a) == pytest.approx(0, abs=1e-5)


def _top(values: list[float]) -> Recorded:
    from engine.explain import explain
    from engine.sampling import SamplerRow, choose

    scores = np.array([values], np.float32)
    rows = [SamplerRow("1", SamplingParams(), 5, 0, 9)]
    return Recorded(explain(scores, rows, choose(scores, rows))[0])


def test_ranks_count_from_one_and_equal_logits_by_id() -> None:
    whole = Whole(np.array([1.0, 3.0, 3.0, 2.0], np.float32), "captured")
    assert [whole.rank(token) for token in range(4)] == [4, 1, 2, 3]
    assert (whole.top, whole.margin, whole.rank(9)) == (1, 0, None)
    recorded = Recorded(chosen(SamplingParams()))
    assert recorded.rank(recorded.top) == 1
    assert recorded.logprob(recorded.top) == pytest.approx(recorded.details.raw_logprob, abs=1e-5)
    assert math.isclose(sum(map(math.exp, recorded.known().values())), 1, abs_tol=0.5)


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_the_first_difference_is_the_first(a: list[int], b: list[int]) -> None:
    at = first_difference(a, b)
    if at is None:
        assert a == b
    else:
        assert a[:at] == b[:at]
        assert a[at : at + 1] != b[at : at + 1]


def test_captured_logits_are_compared_whole(folder: Path) -> None:
    a = run(folder / "kept.wbs", capture=("logits",))
    b = run(folder / "kept-bf16.wbs", capture=("logits",), dtype="bfloat16")
    with Session.open(a) as one, Session.open(b) as other:
        pair = compare_pair(Side(one), Side(other), "1", "1")
        captured = [Side(session).captured("1", pair.positions[0].position) for session in (one, other)]
    assert all(each.basis == "captured" for each in pair.positions)
    assert captured[0] is not None
    assert captured[1] is not None
    assert pair.positions[0].kl == whole_divergence(captured[0], captured[1])
    assert pair.positions[0].kl > 0


def test_of_many_requests_without_a_partner_a_few_are_named() -> None:
    alone = [str(number) for number in range(1, 2001)]
    said = verdict(DiffResult(False, None, None, "a", "b", [], [], alone, None))
    assert said.endswith("1 of B, 2 of B, 3 of B, 4 of B, 5 of B, 6 of B, 7 of B, 8 of B, 1,992 more")
