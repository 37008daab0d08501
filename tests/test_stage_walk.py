"""Stepping inside a forward pass: every stage is stood at, what is said of it is so, and the run is the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import xxhash

from engine.engine import Engine, Step, StepFailedError
from engine.forward import TorchForward
from engine.model.stage_names import LAST_STAGES, points
from engine.params import RequestSpec, SamplingParams
from engine.stage_report import Source, Window
from engine.stage_stats import stats_of
from engine.stage_walk import StageWalk
from tests.bundled import bundled_engine, decoder, greedy

ROOT = Path(__file__).parent.parent
POINTS = list(points(decoder().config.layers))
SAMPLED = SamplingParams(max_tokens=6, temperature=1.1, seed=3, ignore_eos=True)
WORK = [greedy(range(40, 75), 6), RequestSpec(tuple(range(40, 60)), SAMPLED, 2), greedy([300, 301, 302], 6)]


def engine() -> Engine:
    made = bundled_engine(24, block_size=4, token_budget=64, max_running=4)
    for spec in WORK:
        made.submit(spec)
    return made


def hashes(steps: Sequence[Step]) -> list[str]:
    """The logits of each step that chose something, bit by bit."""
    return [
        xxhash.xxh3_64_hexdigest(step.details.logits.tobytes())
        for step in steps
        if step.details.logits is not None
    ]


def stand(made: Engine) -> tuple[StageWalk, TorchForward]:
    """Inside the first step."""
    walk = StageWalk(made)
    assert walk.into() is None
    assert made.begun is not None
    assert isinstance(made.begun.forward, TorchForward)
    return walk, made.begun.forward


# -- the run is the same -------------------------------------------------------------------------------


def test_a_run_taken_stage_by_stage_is_the_bare_run() -> None:
    bare, walked = engine(), engine()
    steps = list(iter(bare.step, None))
    seen: list[Step] = []
    walk = StageWalk(walked)
    complete = walked.complete

    def keep(begun):  # type: ignore[no-untyped-def]
        seen.append(complete(begun))
        return seen[-1]

    walked.complete = keep  # type: ignore[method-assign]
    while walked.busy:
        walk.into()
        while walk.next() is None:
            walk.report()
    assert hashes(seen) == hashes(steps)
    assert hashes(steps)
    for request in ("1", "2.0", "2.1", "3"):
        assert list(walked.tokens.tokens_of(request)) == list(bare.tokens.tokens_of(request))


def test_every_stage_is_stood_at_in_order() -> None:
    walk, forward = stand(engine())
    passed = []
    while walk.next() is None:
        report = walk.report()
        assert report.place == "at"
        passed += report.passed
        assert forward.at is not None
        assert report.standing is not None
        assert (report.standing.layer, report.standing.stage) == (forward.at.layer, forward.at.stage)
    assert [(each.layer, each.stage) for each in passed] == POINTS
    assert all(each.ns > 0 for each in passed)


# -- what is said of a stage ---------------------------------------------------------------------------


def test_the_numbers_and_values_are_those_of_the_requests_rows() -> None:
    walk, forward = stand(engine())
    walk.to(2, "q_rot")
    report = walk.report("2.0")
    at = forward.at
    assert at is not None
    rows = at.tensor[forward.rows("2.0", "q_rot")]
    index = [part.request for part in report.parts].index("2.0")
    assert report.passed[-1].stats[index] == stats_of(rows)
    assert report.passed[-1].shape == tuple(at.tensor.shape)
    assert report.standing is not None
    assert report.standing.shape == tuple(rows.shape)
    values = report.standing.values
    assert values is not None
    np.testing.assert_array_equal(
        np.frombuffer(values.data, "<f4").reshape(values.tiles), rows.flatten(1).numpy()
    )


def test_a_request_that_chooses_nothing_has_no_rows_in_the_last_stages() -> None:
    made = bundled_engine(24, block_size=4, token_budget=8)
    made.submit(greedy(range(40, 60), 4))  # chunked: the first chunk chooses nothing
    walk, _ = stand(made)
    for stage in LAST_STAGES:
        walk.to(-1, stage)
        report = walk.report()
        assert report.passed[-1].stats == (None,)
        assert report.standing is not None
        assert report.standing.values is None
        assert report.standing.shape[0] == 0


def test_the_first_request_is_shown_where_the_asked_one_is_not_in_the_step() -> None:
    walk, _ = stand(engine())
    walk.next()
    standing = walk.report("9").standing
    assert standing is not None
    assert standing.request == "1"


def line(source: Source, number: int) -> str:
    return source.text[number - source.start]


def test_the_lines_that_ran_end_where_the_stage_was_yielded() -> None:
    walk, _ = stand(engine())
    while walk.next() is None:
        standing = walk.report().standing
        assert standing is not None
        innermost = standing.source[-1]
        assert f'"{standing.stage}"' in line(innermost, innermost.last)
        between = [line(innermost, number) for number in innermost.ran[:-1]]
        assert not any("(yield" in each for each in between), "a line of a stage before is said to have run"
        assert not any("_explicit_attention" in each for each in between), (
            "a branch not taken is said to have run"
        )
        for source in standing.source:
            file = (ROOT / source.file).read_text().splitlines()
            assert [file[number - 1] for number in source.ran] == [line(source, number) for number in source.ran]


def test_the_lines_of_one_layer_follow_each_other() -> None:
    walk, _ = stand(engine())
    walk.to(1, "attn_norm")
    found = [walk.report().standing]
    while found[-1] is not None and found[-1].stage != "resid_mid":
        walk.next()
        found.append(walk.report().standing)
    lines = [standing.source[-1] for standing in found if standing is not None]
    assert all(after.first > before.last for before, after in pairwise(lines))
    assert [line(lines[-1], number).strip() for number in lines[-1].ran] == [
        "x = x + h", 'replace(x, (yield i, "resid_mid", x))',
    ]  # fmt: skip
    assert lines[0].function == "Layer._attention"
    assert lines[0].file == "engine/model/layer.py"


# -- going on ------------------------------------------------------------------------------------------


def test_next_layer_stands_before_what_a_layer_does_first() -> None:
    walk, forward = stand(engine())
    for layer in range(decoder().config.layers):
        walk.next_layer()
        assert forward.at is not None
        assert (forward.at.layer, forward.at.stage) == (layer, "attn_norm")
    walk.next_layer()
    assert forward.at.stage == "final_norm"
    with pytest.raises(ValueError, match="there is no layer after final_norm: finish the step"):
        walk.next_layer()


def test_stages_passed_on_the_way_are_reported_once() -> None:
    walk, _ = stand(engine())
    walk.next_layer()
    assert [each.stage for each in walk.report().passed] == ["embed", "attn_norm"]
    assert walk.report().passed == ()
    walk.next(3)
    assert [each.stage for each in walk.report().passed] == ["q", "k", "v"]


def test_a_stage_that_somebody_else_halted_at_is_reported_the_same_way() -> None:
    made = engine()
    walk = StageWalk(made)
    begun = made.begin()
    assert walk.report().place == "before"
    for _ in range(5):
        made.next_stage(begun)
    report = walk.report()
    assert report.standing is not None
    assert (report.standing.layer, report.standing.stage) == POINTS[4]
    assert [each.stage for each in report.passed] == [POINTS[4][1]]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda walk: walk.to(0, "nonsense"), "there is no stage layer 0 nonsense in this pass"),
        (lambda walk: walk.to(99, "q"), "there is no stage layer 99 q in this pass"),
        (lambda walk: walk.to(0, "attn_scores"), "there is no stage layer 0 attn_scores"),
        (lambda walk: walk.to(0, "q"), "layer 0 q is not ahead: the pass stands at layer 1 k"),
        (lambda walk: walk.to(1, "k"), "layer 1 k is not ahead"),
        (lambda walk: walk.next(0), "count is 0"),
        (lambda walk: walk.report(None, Window(first_row=999)), "are not all there"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(wrong, says) -> None:  # type: ignore[no-untyped-def]
    walk, forward = stand(engine())
    walk.to(1, "k")
    with pytest.raises(ValueError, match=says):
        wrong(walk)
    assert forward.at is not None
    assert (forward.at.layer, forward.at.stage) == (1, "k")


def test_nothing_is_under_way_between_steps() -> None:
    idle = StageWalk(bundled_engine(8))
    with pytest.raises(ValueError, match="no request is live"):
        idle.into()
    with pytest.raises(ValueError, match="no step is under way"):
        idle.next()


def test_an_abandoned_step_is_taken_again_with_the_same_tokens() -> None:
    bare, walked = engine(), engine()
    bare.run()
    walk, _ = stand(walked)
    walk.next_layer()
    assert walk.abandon().place == "abandoned"
    assert not walked.state.running
    walked.run()
    for request in ("1", "2.0", "3"):
        assert list(walked.tokens.tokens_of(request)) == list(bare.tokens.tokens_of(request))


def test_a_stage_that_raises_fails_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine()
    walk, forward = stand(made)

    def broken() -> None:
        raise FloatingPointError("no such number")

    monkeypatch.setattr(forward, "_advance", broken)
    with pytest.raises(StepFailedError, match="no such number"):
        walk.next()
    assert made.begun is None


def test_the_example_in_the_document_runs() -> None:
    example = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "layers.md").read_text(), re.DOTALL)
    assert example is not None
    made = engine()
    scope = {"engine": made}
    exec(example[1], scope)
    assert scope["report"].standing.stage == "attn_out"  # type: ignore[attr-defined]
    assert scope["seen"].position == 20  # type: ignore[attr-defined]
