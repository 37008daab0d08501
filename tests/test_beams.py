"""Beam search: what transformers finds, under any schedule, from blocks that its beams share."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import events as ev
from engine import keyframe
from engine.beams import Beam, Rules, continue_beams, margin_of
from engine.engine import Engine, StepFailedError
from engine.forking import ForkSpec
from engine.option_error import OptionError
from engine.params import RequestSpec, SamplingParams
from engine.text.tokenizer import Tokenizer
from engine.timeline import MemoryTimeline
from tests.adapters import reference
from tests.bundled import FOLDER, bundled_engine
from tests.commands import run
from tests.scripted import VOCAB, expected_output, next_logits, scripted_engine, slot_value, spec
from tests.test_bookkeeping import Recorded
from workbench.views.holders import holders, named

TEXTS = ("def read(path):\n    return", "import os\n", "class A:\n    pass\n\n")
NEAR = 1e-4

Output = tuple[list[int], float]


@cache
def prompt(text: str) -> tuple[int, ...]:
    return tuple(Tokenizer.from_folder(FOLDER).encode(text))


def search(ids: Sequence[int], beams: int, max_tokens: int = 12, **params: Any) -> RequestSpec:
    return RequestSpec(tuple(ids), SamplingParams(beams=beams, max_tokens=max_tokens, **params))


def ends(said: Sequence[ev.Event]) -> dict[str, ev.BeamsEnded]:
    return {event.request: event for event in said if isinstance(event, ev.BeamsEnded)}


def found(engine: Engine, end: ev.BeamsEnded, prompt_tokens: int) -> list[Output]:
    """The outputs of a search, best first."""
    return [(list(engine.tokens.tokens_of(each.request))[prompt_tokens:], each.score) for each in end.best]


def run_search(engine: Engine, asked: RequestSpec) -> list[Output]:
    sink = Recorded()
    engine._sink = sink
    (request,) = engine.submit(asked)
    while engine.busy:
        engine.step()
        engine.state.check_invariants()
    said = [ev.decode(line) for line in sink.lines]
    return found(engine, ends(said)[request], len(asked.prompt_ids))


# -- on the bundled model ------------------------------------------------------------------------------


@cache
def transformers_model() -> Any:
    return reference()


def transformers_search(ids: Sequence[int], params: SamplingParams, eos: Sequence[int]) -> list[Output]:
    """The same search by transformers: outputs up to their end token, and their scores."""
    done = transformers_model().generate(
        torch.tensor([list(ids)]), attention_mask=torch.ones(1, len(ids), dtype=torch.int64), do_sample=False,
        num_beams=params.beams, num_return_sequences=params.beams, length_penalty=params.length_penalty,
        early_stopping=params.early_stopping, max_new_tokens=params.max_tokens, eos_token_id=list(eos),
        repetition_penalty=params.repetition_penalty, pad_token_id=0, return_dict_in_generate=True,
        output_scores=True,
    )  # fmt: skip
    outputs = [list(sequence)[len(ids) :] for sequence in done.sequences.tolist()]
    stops = [next((at + 1 for at, token in enumerate(output) if token in eos), len(output)) for output in outputs]
    return [(o[:s], score) for o, s, score in zip(outputs, stops, done.sequences_scores.tolist(), strict=True)]


def same(mine: Sequence[Output], theirs: Sequence[Output]) -> None:
    assert [tokens for tokens, _ in mine] == [tokens for tokens, _ in theirs]
    for (_, score), (_, expected) in zip(mine, theirs, strict=True):
        assert math.isclose(score, expected, abs_tol=NEAR, rel_tol=1e-5)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(
    ("beams", "length_penalty", "early_stopping"),
    [(2, 1.0, False), (3, 2.0, True), (4, 0.0, "never"), (5, 0.7, False), (3, -1.0, False), (4, 1.5, "never")],
)
def test_a_search_finds_what_transformers_finds(
    text: str, beams: int, length_penalty: float, early_stopping: bool | str
) -> None:
    """Newline ends an output beside the model's own end token, so that outputs of many lengths compete."""
    ids, newline = prompt(text), prompt("\n")[-1]
    asked = search(ids, beams, length_penalty=length_penalty, early_stopping=early_stopping, stop_ids=(newline,))
    mine = run_search(bundled_engine(128, block_size=4), asked)
    same(mine, transformers_search(ids, asked.params, (0, newline)))
    assert len({len(tokens) for tokens, _ in mine}) > 1 or len(mine[0][0]) == 12


@pytest.mark.parametrize("text", TEXTS)
def test_penalties_work_on_log_probabilities_as_in_transformers(text: str) -> None:
    asked = search(prompt(text), 3, repetition_penalty=1.4)
    mine = run_search(bundled_engine(128, block_size=4), asked)
    same(mine, transformers_search(asked.prompt_ids, asked.params, (0,)))


def test_a_search_finds_the_same_in_a_pool_that_it_must_share() -> None:
    """Other requests come and go, blocks run short, searches are preempted whole and come back."""
    engine = bundled_engine(26, block_size=4, token_budget=24, max_running=12)
    sink = Recorded()
    engine._sink = sink
    asked = [search(prompt(TEXTS[0]), 4, 24), search(prompt(TEXTS[2]), 3, 24)]
    (first,) = engine.submit(asked[0])
    engine.submit(RequestSpec(prompt(TEXTS[1]), SamplingParams(max_tokens=30, ignore_eos=True), priority=1))
    (second,) = engine.submit(asked[1])
    engine.submit(RequestSpec(prompt(TEXTS[1]), SamplingParams(max_tokens=30, ignore_eos=True), priority=1))
    while engine.busy:
        engine.step()
        engine.state.check_invariants()
    said = [ev.decode(line) for line in sink.lines]
    assert any(isinstance(event, ev.Preempted) for event in said), "the pool is meant to be too small"
    assert any(isinstance(event, ev.Copied) for event in said), (
        "beams are meant to share blocks that are not full"
    )
    for request, each in ((first, asked[0]), (second, asked[1])):
        alone = run_search(bundled_engine(256, block_size=4), each)
        same(found(engine, ends(said)[request], len(each.prompt_ids)), alone)


def test_details_are_those_of_the_row_that_a_beam_came_from() -> None:
    engine = bundled_engine(64, block_size=4)
    engine.submit(search(prompt(TEXTS[0]), 3))
    sink = Recorded()
    engine._sink = sink
    scores: dict[str, float] = {}
    while engine.busy:
        before = len(sink.lines)
        step = engine.step()
        assert step is not None
        said = [ev.decode(line) for line in sink.lines[before:]]
        tokens = [event for event in said if isinstance(event, ev.Token)]
        details = step.details()
        assert [(d.request, d.position, d.token) for d in details] == [
            (t.request, t.position, t.token) for t in tokens
        ]
        (chosen,) = (event for event in said if isinstance(event, ev.BeamsChosen))
        for about, candidate in zip(details, [c for c in chosen.candidates if c.request], strict=True):
            assert about.stages[0].stage == "log_softmax"
            assert math.isclose(about.raw_logprob, candidate.logprob, abs_tol=NEAR)
            parent = scores.get(candidate.parent, 0.0)
            assert math.isclose(candidate.score, parent + candidate.logprob, abs_tol=1e-9)
        scores |= {c.request: c.score for c in chosen.candidates if c.request}


def test_going_back_into_a_search_finds_the_same_again() -> None:
    """By computing lost keys again, and exactly, by running the recorded steps again."""
    for exact in (False, True):
        engine = bundled_engine(40, block_size=4)
        timeline = MemoryTimeline(40, engine.options)
        engine._sink = engine._timeline = engine._rewinder._timeline = timeline
        asked = search(prompt(TEXTS[0]), 4)
        (request,) = engine.submit(asked)
        engine.run()
        (once,) = [e for e in timeline.events(0, -1, engine.state.step) if isinstance(e, ev.BeamsEnded)]
        first = found(engine, once, len(asked.prompt_ids))
        engine.submit(RequestSpec(tuple(range(200, 300)), SamplingParams(max_tokens=2)))
        engine.run()

        engine.rewind(6, exact=exact, afresh=exact)
        engine.state.check_invariants()
        assert len(engine.state.beams_of(request)) == 4
        engine.run()

        branch = engine.state.branch
        (again,) = [e for e in timeline.events(branch, 6, engine.state.step) if isinstance(e, ev.BeamsEnded)]
        same(found(engine, again, len(asked.prompt_ids)), first)


def test_a_fork_of_a_beam_goes_on_alone() -> None:
    engine = bundled_engine(64, block_size=4)
    (request,) = engine.submit(search(prompt(TEXTS[0]), 3))
    for _ in range(4):
        engine.step()
    beam = engine.state.beams_of(request)[0]
    fork = engine.fork(ForkSpec(beam.id, beam.num_tokens))
    assert engine.state.requests[fork].search is None
    engine.run()
    output = list(engine.tokens.tokens_of(fork))
    plain = bundled_engine(64, block_size=4)
    tokens = tuple(output[: beam.num_tokens])
    (other,) = plain.submit(RequestSpec(tokens, SamplingParams(max_tokens=len(output) - len(tokens))))
    plain.run()
    assert list(plain.tokens.tokens_of(other)) == output


# -- the bookkeeping, without a model ------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """A search as a few lines of Python: no blocks, no schedule."""

    tokens: tuple[int, ...]
    score: float


def expected_search(ids: Sequence[int], params: SamplingParams) -> list[Expected]:
    """The search that every schedule must agree with."""

    def logprobs(tokens: Sequence[int]) -> list[float]:
        slots = [0]
        for token in tokens:
            slots.append(slot_value(slots[-1], token))
        logits = next_logits(slots[1:]).astype("float64")
        return list(logits - (logits.max() + math.log(sum(math.exp(x - logits.max()) for x in logits))))

    n, stops = params.beams, set(params.stop_ids)
    live, done = [Expected((), 0.0)], []
    for length in range(1, params.max_tokens + 1):
        options = [
            Expected((*beam.tokens, token), beam.score + logprob)
            for beam in live for token, logprob in enumerate(logprobs([*ids, *beam.tokens]))
        ]  # fmt: skip
        options = sorted(options, key=lambda each: -each.score)[: max(2, 1 + len(stops)) * n]
        over = [each.tokens[-1] in stops or length == params.max_tokens for each in options]
        done += [
            Expected(each.tokens, each.score / length**params.length_penalty)
            for each, ended in list(zip(options, over, strict=True))[:n] if ended
        ]  # fmt: skip
        done = sorted(done, key=lambda each: -each.score)[:n]
        live = [each for each, ended in zip(options, over, strict=True) if not ended][:n]
        if not live:
            break
        if len(done) == n and (params.early_stopping is True or not _hope(live[0], done, params, length)):
            break
    return done


def _hope(best: Expected, done: Sequence[Expected], params: SamplingParams, length: int) -> bool:
    if params.early_stopping == "never" and params.length_penalty > 0:
        length = params.max_tokens
    return best.score / length**params.length_penalty > done[-1].score


searches = st.builds(
    SamplingParams,
    max_tokens=st.integers(1, 9),
    beams=st.integers(2, 4),
    length_penalty=st.sampled_from([0.0, 1.0, 2.0, -0.5]),
    early_stopping=st.sampled_from([False, True, "never"]),
    stop_ids=st.sampled_from([(), (3,), tuple(range(0, 50, 7))]),
)
plain = st.builds(SamplingParams, max_tokens=st.integers(1, 9))
prompts = st.lists(st.integers(0, 5), min_size=1, max_size=14)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(prompts, st.one_of(searches, searches, plain), st.integers(0, 8)), min_size=1, max_size=4),
    st.sampled_from([1, 2, 3, 4]),
    st.integers(4, 30),
    st.integers(0, 30),
    st.booleans(),
    st.data(),
)
def test_searches_do_not_depend_on_the_schedule(arrivals, size, budget, slack, cache_on, data) -> None:
    """Whatever the pool, budget, batch and preemption: the reference's outputs, unless the pool is full."""
    least = max(-(-(len(ids) + 9) // size) for ids, _, _ in arrivals) + 3
    sink = Recorded()
    engine = scripted_engine(least + slack, sink, block_size=size, token_budget=budget, prefix_cache=cache_on)
    engine.limits = type(engine.limits)(max_context=1 << 12, vocab_size=VOCAB)
    pending = sorted(arrivals, key=lambda each: each[2])
    submitted: list[tuple[str, list[int], SamplingParams]] = []
    steps = 0
    while pending or engine.busy:
        while pending and (pending[0][2] <= steps or not engine.busy):
            ids, params, _ = pending.pop(0)
            submitted.append((engine.submit(RequestSpec(tuple(ids), params))[0], ids, params))
        step = engine.step()
        steps += 1
        assert steps < 2000, "the schedule makes no progress"
        engine.state.check_invariants()
        if step is not None and engine.state.running and data.draw(st.integers(0, 12)) == 0:
            engine.preempt(data.draw(st.sampled_from(sorted(engine.state.running))))
            engine.state.check_invariants()
    said = [ev.decode(line) for line in sink.lines]
    full = {event.request for event in said if isinstance(event, ev.Finished) and event.detail == "kv_full"}
    for request, ids, params in submitted:
        if params.beams == 1:
            output = list(engine.tokens.tokens_of(request))[len(ids) :]
            assert request in full or output == expected_output(ids, params.max_tokens)
            continue
        end = ends(said)[request]
        if end.why == "kv_full":
            assert params.beams * -(-(len(ids) + params.max_tokens) // size) > least + slack
            continue
        expected = expected_search(ids, params)
        mine = found(engine, end, len(ids))
        assert [tuple(tokens) for tokens, _ in mine] == [each.tokens for each in expected]
        for (_, score), each in zip(mine, expected, strict=True):
            assert math.isclose(score, each.score, rel_tol=1e-5, abs_tol=1e-5)
    assert not engine.state.searches
    folded = sink.fold(engine.state.blocks.num_blocks, size)
    assert keyframe.pack(folded) == keyframe.pack(engine.state)


class FixedRow:
    """A row with these log-probabilities."""

    def __init__(self, logprobs: Sequence[float]) -> None:
        self.ranked = sorted(enumerate(logprobs), key=lambda each: (-each[1], each[0]))

    def best(self, count: int) -> list[tuple[int, float]]:
        return self.ranked[:count]


@settings(max_examples=300)
@given(
    st.lists(st.lists(st.floats(-9, 0), min_size=8, max_size=8), min_size=1, max_size=4),
    st.sets(st.integers(0, 7), max_size=3),
    st.sampled_from([False, True, "never"]),
    st.lists(st.floats(-9, 0), max_size=3),
)
def test_every_choice_is_accounted_for(rows, stops, early, before) -> None:
    width = max(2, len(rows))
    params = SamplingParams(beams=width, max_tokens=20, early_stopping=early, stop_ids=tuple(stops))
    kept = [ev.Hypothesis(f"h{at}", score) for at, score in enumerate(sorted(before, reverse=True))][:width]
    beams = [Beam(str(at), -float(at), FixedRow(row)) for at, row in enumerate(rows)]

    done = continue_beams(beams, Rules.of(params, len(stops), lambda t, _: t in stops), kept, 5, 100)

    scores = [each.score for each in done.candidates]
    assert scores == sorted(scores, reverse=True)
    assert margin_of(done.candidates) >= 0
    taken = [each.request for each in done.candidates if each.fate != "passed_over"]
    assert len(set(taken)) == len(taken), "no two candidates become the same request"
    assert all(each.request for each in done.candidates if each.fate != "passed_over")
    fresh = [request for request in taken if int(request) >= 100]
    assert fresh == [str(100 + at) for at in range(len(fresh))], "new requests are numbered in order"
    for parent in {each.parent for each in done.candidates}:
        heirs = [each for each in done.candidates if each.request == parent]
        others = [each for each in done.candidates if each.parent == parent and each.fate != "passed_over"]
        assert len(heirs) == bool(others), "a parent that goes on at all goes on as itself"
    assert len([each for each in done.candidates if each.fate == "goes_on"]) == (0 if done.over else width)
    assert len(done.hypotheses) <= width
    assert [each.score for each in done.hypotheses] == sorted((h.score for h in done.hypotheses), reverse=True)
    ended = {each.request for each in done.candidates if each.fate == "ended"}
    assert ended == {each.request for each in done.hypotheses} - {each.request for each in kept}


def test_a_search_whose_step_fails_goes_on_with_the_next() -> None:
    sink = Recorded()
    engine = scripted_engine(64, sink, block_size=2)
    asked = search([1, 2, 3], 3, 6)
    (request,) = engine.submit(asked)
    for _ in range(3):
        engine.step()
    executor = engine.executor
    executor.fault = lambda: (_ for _ in ()).throw(MemoryError("once"))  # type: ignore[attr-defined]
    with pytest.raises(StepFailedError):
        engine.step()
    executor.fault = lambda: None  # type: ignore[attr-defined]
    engine.run()
    said = [ev.decode(line) for line in sink.lines]
    expected = expected_search(asked.prompt_ids, asked.params)
    assert [tuple(tokens) for tokens, _ in found(engine, ends(said)[request], 3)] == [e.tokens for e in expected]


def test_aborting_a_beam_ends_its_search() -> None:
    engine = scripted_engine(64, block_size=2)
    (request,) = engine.submit(search([1, 2, 3], 3, 6))
    engine.submit(spec([4, 5], 6))
    for _ in range(3):
        engine.step()
    engine.abort(engine.state.beams_of(request)[-1].id)
    assert not engine.state.searches
    assert list(engine.state.requests) == ["2"]
    engine.state.check_invariants()


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"beams": 0}, "beams is 0: it must be between 1 and 64"),
        ({"beams": 3, "temperature": 0.5}, "temperature is 0.5: with 3 beams it must be 0"),
        ({"beams": 3, "stop": ("x",)}, "with 3 beams use stop_ids"),
        ({"beams": 3, "length_penalty": math.inf}, "length_penalty is inf: it must be between -100 and 100"),
    ],
)
def test_settings_that_no_search_can_have_are_refused(params: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        SamplingParams(**params)


def test_a_search_that_can_never_run_is_refused() -> None:
    engine = scripted_engine(64, block_size=2, max_running=4, token_budget=6)
    for beams, said in ((5, "at most 4 requests run at once"), (26, "at most")):
        with pytest.raises(ValueError, match=said):
            engine.check(search([1], beams))
    with pytest.raises(OptionError, match="a search returns its best outputs"):
        RequestSpec((1,), SamplingParams(beams=2), n=2)


def test_chaos_compares_searches_whatever_ids_their_beams_get(tmp_path: Path) -> None:
    lines = [{"prompt": text, "max_tokens": 8, "beams": 3} for text in TEXTS]
    (tmp_path / "w.jsonl").write_text("\n".join(map(json.dumps, lines)))
    size = ("--block-size", 4, "--kv-blocks", 48, "--json")
    done = run("chaos", "--workload", tmp_path / "w.jsonl", "--rounds", 3, *size)
    assert done.code == 0, done.out


def test_a_recorded_search_is_replayed_to_the_bit(tmp_path: Path) -> None:
    lines = [
        {"prompt": TEXTS[0], "max_tokens": 10, "beams": 4}, {"prompt": TEXTS[1], "max_tokens": 8},
        {"prompt": TEXTS[2], "max_tokens": 10, "beams": 3, "early_stopping": True, "repetition_penalty": 1.2},
    ]  # fmt: skip
    (tmp_path / "w.jsonl").write_text("\n".join(map(json.dumps, lines)))
    session = tmp_path / "s.wbs"
    done = run("record", "--workload", tmp_path / "w.jsonl", "-o", session, "--block-size", 4, "--kv-blocks", 40)
    assert done.code == 0
    assert json.loads(run("replay", session, "--json").out)["identical"] is True


def test_a_redacted_search_opens_without_its_text_and_says_its_scores(tmp_path: Path) -> None:
    line = {"prompt": TEXTS[0], "max_tokens": 6, "beams": 3, "salt": "somebody"}
    (tmp_path / "w.jsonl").write_text(json.dumps(line))
    session = tmp_path / "s.wbs"
    assert run("record", "--workload", tmp_path / "w.jsonl", "-o", session).code == 0

    assert run("export", session, "--to", "jsonl", "--redact", "-o", tmp_path / "e.jsonl").code == 0

    text = (tmp_path / "e.jsonl").read_text()
    said = [json.loads(each) for each in text.splitlines()]
    assert "somebody" not in text
    chosen = [each for each in said if each["type"] == "beams_chosen"]
    assert {candidate[1] for each in chosen for candidate in each["candidates"]} == {0}
    (end,) = (each for each in said if each["type"] == "beams_ended")
    assert len(end["best"]) == 3
    assert all(ev.decode(each) for each in text.splitlines()[1:])


def test_a_simulation_of_a_search_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "w.jsonl").write_text(json.dumps({"prompt": TEXTS[0], "max_tokens": 4, "beams": 2}))
    assert run("record", "--workload", tmp_path / "w.jsonl", "-o", tmp_path / "s.wbs").code == 0
    done = run("explain", tmp_path / "s.wbs", "--what-if", "block-size=8")
    assert done.code == 2
    assert "this record has a beam search" in done.err
    assert done.err.count("\n") == 1


def test_record_tells_what_each_search_found(tmp_path: Path) -> None:
    (tmp_path / "w.jsonl").write_text(json.dumps({"prompt": TEXTS[0], "max_tokens": 6, "beams": 3}))
    done = json.loads(run("record", "--workload", tmp_path / "w.jsonl", "-o", tmp_path / "s.wbs", "--json").out)
    (told,) = done["searches"]
    outputs = {each["id"]: each["output_ids"] for each in done["requests"] if not each.get("dropped")}
    expected = run_search(bundled_engine(64), search(prompt(TEXTS[0]), 3, 6))
    same([(outputs[each["id"]], each["score"]) for each in told["best"]], expected)


def test_beams_are_named_with_their_scores_where_blocks_are_shown() -> None:
    engine = bundled_engine(64, block_size=4)
    (request,) = engine.submit(search(prompt(TEXTS[0]), 3))
    (other,) = engine.submit(RequestSpec((5, 6, 7), SamplingParams(max_tokens=9)))
    assert named(engine.state, [request, other]) == [request, other], "nothing was chosen yet"
    for _ in range(3):
        engine.step()
    beams = engine.state.beams_of(request)
    first = beams[0].table[0]
    assert holders(engine.state, first) == [beam.id for beam in beams]
    scored = [f"{beam.id} ({beam.score:.2f})" for beam in beams]
    assert named(engine.state, [*holders(engine.state, first), other]) == [*scored, other]
