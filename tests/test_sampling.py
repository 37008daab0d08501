"""The sampler against transformers' processors and against a slow implementation that sorts everything."""

import math
from itertools import accumulate

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from transformers.generation import logits_process as hf

from engine.details import TokenDetails
from engine.draws import uniform
from engine.explain import explain, rework
from engine.history import SeenTokens, TokenHistory
from engine.params import OptionError, SamplingParams
from engine.ranking import Ranking, heads
from engine.sampling import SamplerRow, SamplingError, choose
from engine.stages import active_filters, active_transforms, check_vocabulary, transformed

VOCAB = 97


def row_for(params: SamplingParams, position: int = 5, seen: SeenTokens | None = None, **changes) -> SamplerRow:
    return SamplerRow(**{"request_id": "3", "seed": 11, "sample_index": 0} | changes, params=params,
                      position=position, seen=seen)  # fmt: skip


def details_of(logits: np.ndarray, row: SamplerRow) -> TokenDetails:
    scores = np.asarray(logits, np.float32)[None]
    return explain(scores, [row], choose(scores, [row]))[0]


def random_logits(seed: int, vocab: int, grid: float | None, masked: bool) -> np.ndarray:
    """Logits of a usual spread; on a grid they are full of ties; masked, a third of them is -inf."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, vocab)
    if grid:
        logits = np.round(logits / grid) * grid
    if masked:
        logits[rng.random(vocab) < 0.33] = -np.inf
        logits[seed % vocab] = 1.0
    return logits.astype(np.float32)


def logits_of(*vocabularies: int) -> st.SearchStrategy[np.ndarray]:
    return st.builds(
        random_logits,
        st.integers(0, 2**32 - 1),
        st.sampled_from(vocabularies),
        st.sampled_from([None, None, 0.5]),
        st.booleans(),
    )


logits_rows = logits_of(2, VOCAB, 700, 3000)
sampled_params = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.3, 0.8, 1.0, 1.7]),
    top_k=st.sampled_from([0, 0, 1, 7, 40, 10_000]),
    top_p=st.sampled_from([1.0, 0.05, 0.5, 0.9, 0.999]),
    min_p=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
)
penalties = {
    "repetition_penalty": st.sampled_from([1.0, 0.7, 1.3]),
    "presence_penalty": st.sampled_from([0.0, 0.5, -0.5]),
    "frequency_penalty": st.sampled_from([0.0, 0.25, -1.0]),
    "logit_bias": st.dictionaries(st.integers(0, 1), st.floats(-5, 5, width=32), max_size=2),
}
penalised_params = st.builds(SamplingParams, temperature=st.sampled_from([0.0, 0.6, 1.0]), **penalties)
any_params = st.sampled_from([SamplingParams()]) | sampled_params | penalised_params
token_lists = st.lists(st.integers(0, 1), max_size=6)


# --- against transformers


def warped(logits: np.ndarray, params: SamplingParams) -> np.ndarray:
    """What transformers' warpers make of the logits, in the order `generate` runs them."""
    warpers = []
    if params.temperature != 1.0:
        warpers.append(hf.TemperatureLogitsWarper(params.temperature))
    if params.top_k:
        warpers.append(hf.TopKLogitsWarper(params.top_k))
    if params.top_p < 1.0:
        warpers.append(hf.TopPLogitsWarper(params.top_p))
    if params.min_p:
        warpers.append(hf.MinPLogitsWarper(params.min_p))
    ids = torch.zeros((1, 1), dtype=torch.long)
    return hf.LogitsProcessorList(warpers)(ids, torch.from_numpy(logits)[None].clone())[0].numpy()


def kept_logits(logits: np.ndarray, row: SamplerRow) -> np.ndarray:
    trail = choose(logits[None], [row]).trails[0]
    assert trail is not None
    kept = len(logits) if trail.kept is None else trail.kept
    trail.ranking.at_least(kept)
    out = np.full_like(logits, -np.inf)
    ids = trail.ranking.ids[:kept]
    out[ids] = trail.ranking.values[ids]
    return out


@settings(max_examples=300, deadline=None)
@given(logits_rows, sampled_params)
def test_filters_keep_what_transformers_keeps(logits, params):
    """The same logits; which of several equal ones stay under top-p, transformers leaves to its sort."""
    expected, actual = warped(logits, params), kept_logits(logits, row_for(params))
    if not np.array_equal(np.sort(actual), np.sort(expected)):
        assert details_of(logits, row_for(params)).near_tie
    elif len(set(logits.tolist())) == len(logits):
        assert np.array_equal(actual, expected)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 10**6), sampled_params, token_lists, st.sampled_from([0.7, 1.3]), st.floats(-5, 5, width=32)
)
def test_the_whole_chain_runs_in_the_order_of_transformers(seed, params, seen, penalty, bias):
    logits = random_logits(seed, 300, None, False)
    scores, ids = torch.from_numpy(logits)[None].clone(), torch.tensor([[*seen, 7]])
    scores = hf.SequenceBiasLogitsProcessor([[[1], bias]])(ids, scores)
    scores = hf.RepetitionPenaltyLogitsProcessor(penalty)(ids, scores)
    expected = warped(scores[0].numpy(), params)
    params = replace(params, repetition_penalty=penalty, logit_bias={1: bias})
    row = row_for(params, seen=TokenHistory(seen, [7], 300).seen())
    if not np.allclose(kept_logits(logits, row), expected, rtol=1e-6):
        assert details_of(logits, row).near_tie


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.94])
def test_top_p_keeps_one_when_the_first_alone_exceeds_it(top_p):
    logits = np.log(np.array([0.95, 0.03, 0.01, 0.01], np.float32))
    params = SamplingParams(temperature=1.0, top_p=top_p)
    assert np.isfinite(kept_logits(logits, row_for(params))).sum() == 1
    assert np.isfinite(warped(logits, params)).sum() == 1


def test_top_p_removes_the_candidate_that_finds_exactly_p_before_it():
    logits = np.zeros(4, np.float32)
    params = SamplingParams(temperature=1.0, top_p=0.5)
    assert np.isfinite(kept_logits(logits, row_for(params))).tolist() == [True, True, False, False]
    assert np.isfinite(warped(logits, params)).sum() == 2


def test_top_k_keeps_what_ties_with_the_last():
    logits = np.array([1, 3, 2, 2, 2, 0], np.float32)
    params = SamplingParams(temperature=1.0, top_k=2)
    assert np.isfinite(kept_logits(logits, row_for(params))).tolist() == [False, True, True, True, True, False]
    assert np.array_equal(kept_logits(logits, row_for(params)), warped(logits, params))


@given(st.integers(0, 999), token_lists, token_lists, st.sampled_from([0.5, 1.1, 2.0]))
def test_the_repetition_penalty_is_transformers(seed, prompt, output, penalty):
    logits = random_logits(seed, 5, None, False)
    ids = torch.tensor([[*prompt, *output, 4]])
    expected = hf.RepetitionPenaltyLogitsProcessor(penalty)(ids, torch.from_numpy(logits)[None].clone())[0]
    seen = TokenHistory([*prompt, 4], output, 5).seen()
    ((stage, actual),) = transformed(logits, SamplingParams(repetition_penalty=penalty), seen)
    assert stage == "repetition"
    assert np.array_equal(actual, expected.numpy())


def test_the_logit_bias_is_transformers():
    logits = random_logits(0, VOCAB, None, False)
    bias = {3: 1.5, 90: -4.25}
    processor = hf.SequenceBiasLogitsProcessor([[[token], value] for token, value in bias.items()])
    expected = processor(torch.zeros((1, 2), dtype=torch.long), torch.from_numpy(logits)[None].clone())[0]
    ((_, actual),) = transformed(logits, SamplingParams(logit_bias=bias), None)
    assert np.allclose(actual, expected.numpy(), atol=1e-6)


def test_presence_and_frequency_count_output_tokens_only():
    """mu[j] - c[j] * frequency - (c[j] > 0) * presence, as OpenAI's API reference gives it."""
    logits = np.zeros(6, np.float32)
    seen = TokenHistory([1, 1, 5], [2, 2, 3], 6).seen()
    params = SamplingParams(presence_penalty=0.5, frequency_penalty=0.25)
    *_, (_, actual) = transformed(logits, params, seen)
    assert actual.tolist() == [0, 0, -1.0, -0.75, 0, 0]


# --- against an implementation that sorts everything and adds exactly


def reference(logits: np.ndarray, row: SamplerRow) -> tuple[int, float | None]:
    """The chosen token and its probability, straight from the definitions (module engine.stages)."""
    params, seen = row.params, row.seen
    x = logits.astype(np.float32)
    for token, bias in params.logit_bias.items():
        x[token] += np.float32(bias)
    if seen:
        for token in seen.ids:
            x[token] = x[token] * np.float32(params.repetition_penalty) if x[token] < 0 else (
                x[token] / np.float32(params.repetition_penalty))  # fmt: skip
        for token, count in zip(seen.ids, seen.output_counts, strict=True):
            x[token] -= np.float32(params.presence_penalty) * (count > 0)
        for token, count in zip(seen.ids, seen.output_counts, strict=True):
            x[token] -= np.float32(params.frequency_penalty) * count
    if params.greedy:
        return int(np.flatnonzero(x == x.max())[0]), None
    x = x / np.float32(params.temperature)
    order = [i for i in sorted(range(len(x)), key=lambda i: (-x[i], i)) if x[i] > -np.inf]
    weight = {i: math.exp(float(x[i]) - float(x.max())) for i in order}
    if params.top_k:
        smallest = x[order[min(params.top_k, len(order)) - 1]]
        order = [i for i in order if x[i] >= smallest]
    if params.top_p < 1:
        mass = math.fsum(weight[i] for i in order)
        befores = accumulate((weight[i] for i in order), initial=0.0)
        order = [i for i, before in zip(order, befores, strict=False) if before < params.top_p * mass]
    order = [i for i in order if weight[i] >= params.min_p]
    mass = math.fsum(weight[i] for i in order)
    point = uniform(row.seed, row.sample_index, row.position, "sample") * mass
    passed = 0.0
    for i in order:
        passed += weight[i]
        if passed > point:
            break
    return i, weight[i] / mass


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), sampled_params | penalised_params, token_lists, token_lists)
def test_choices_are_those_of_the_slow_reference(seed, masked, params, prompt, output):
    logits = random_logits(seed, 300, None, masked)
    row = row_for(params, position=seed % 1000, seen=TokenHistory(prompt, output, 300).seen())
    details = details_of(logits, row)
    token, probability = reference(logits, row)
    if not details.near_tie:
        assert details.token == token
        assert probability is None or math.isclose(details.probability, probability, rel_tol=1e-9)


def test_a_token_does_not_depend_on_the_rest_of_the_batch():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (12, 3000)).astype(np.float32)
    settings_of = [SamplingParams(), SamplingParams(temperature=0.9), SamplingParams(temperature=1.2, top_p=0.9)]
    rows = [row_for(settings_of[i % 3], position=i) for i in range(12)]
    together = choose(logits, rows)
    alone = [choose(logits[i : i + 1], [rows[i]]) for i in range(12)]
    assert together.tokens == [choice.tokens[0] for choice in alone]
    assert together.draws == [choice.draws[0] for choice in alone]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(logits_of(VOCAB), any_params), min_size=1, max_size=5))
def test_what_is_told_about_a_token_does_not_depend_on_the_rest_of_the_batch(batch):
    scores = np.stack([logits for logits, _ in batch])
    rows = [row_for(params, position=i) for i, (_, params) in enumerate(batch)]
    together = explain(scores, rows, choose(scores, rows))
    assert together == [details_of(logits, row) for (logits, _), row in zip(batch, rows, strict=True)]


@settings(max_examples=150, deadline=None)
@given(st.lists(logits_of(3000), min_size=1, max_size=4), st.integers(1, 30))
def test_heads_of_many_rows_are_those_of_their_rankings(logits, n):
    for head, values in zip(heads(np.stack(logits), n), logits, strict=True):
        assert head.tolist() == Ranking(values).ids[:n].tolist()


def test_a_row_with_few_candidates_shows_them_alone():
    few = np.full(VOCAB, -np.inf, np.float32)
    few[[5, 2]] = [1.0, 3.0]
    both = np.stack([few, random_logits(0, VOCAB, None, False)])
    rows = [row_for(SamplingParams())] * 2
    details = explain(both, rows, choose(both, rows))
    assert list(details[0].candidates.ids) == [2, 5]
    assert [len(each.candidates) for each in details] == [2, 20]
    alone = few.copy()
    alone[5] = -np.inf
    assert details_of(alone, rows[0]).margin == math.inf


def test_a_seeded_request_draws_anew_at_every_position():
    logits = np.zeros((200, 50), np.float32)
    rows = [row_for(SamplingParams(temperature=1.0), position=position) for position in range(200)]
    choices = choose(logits, rows)
    assert len(set(choices.draws)) == 200
    assert len(set(choices.tokens)) > 40


def test_frequencies_follow_the_distribution():
    probabilities = np.array([0.5, 0.3, 0.15, 0.05])
    logits = np.tile(np.log(probabilities).astype(np.float32), (4000, 1))
    rows = [row_for(SamplingParams(temperature=1.0), position=position) for position in range(4000)]
    counts = np.bincount(choose(logits, rows).tokens, minlength=4)
    assert np.allclose(counts / 4000, probabilities, atol=0.03)


# --- the sorted head grows without changing an answer


@pytest.mark.parametrize("params", [
    SamplingParams(temperature=50.0),
    SamplingParams(temperature=50.0, top_p=0.99),
    SamplingParams(temperature=50.0, min_p=0.5),
    SamplingParams(temperature=50.0, top_k=2500),
])  # fmt: skip
def test_flat_distributions_are_sampled_right(params):
    logits = random_logits(1, 5000, None, False)
    for position in range(20):
        row = row_for(params, position=position)
        details = details_of(logits, row)
        assert details.near_tie or details.token == reference(logits, row)[0]


def test_all_logits_equal_gives_every_token_its_turn_in_order_of_id():
    details = details_of(np.zeros(1000, np.float32), row_for(SamplingParams(temperature=1.0)))
    assert details.draw is not None
    assert details.token == int(details.draw * 1000)


@pytest.mark.parametrize(("draw", "token"), [(0.0, 0), (0.25, 1), (0.4999, 1), (0.75, 3), (1 - 2**-53, 3)])
def test_an_interval_holds_its_lower_edge_but_not_its_upper(draw, token, monkeypatch):
    monkeypatch.setattr("engine.sampling.uniform", lambda *key: draw)
    details = details_of(np.zeros(4, np.float32), row_for(SamplingParams(temperature=1.0)))
    assert details.token == token
    assert details.interval == (token / 4, (token + 1) / 4)


def test_a_ranking_orders_ties_by_id_and_leaves_out_minus_infinity():
    ranking = Ranking(np.array([1, 2, -np.inf, 2, 3], np.float32))
    assert ranking.ids.tolist() == [4, 1, 3, 0]
    assert ranking.complete


# --- edges


@pytest.mark.parametrize("params", [SamplingParams(), SamplingParams(temperature=1.0, top_k=3)])
@pytest.mark.parametrize(("value", "problem"), [
    (np.nan, "token 4 is nan"),
    (np.inf, "token 4 is inf"),
])  # fmt: skip
def test_logits_that_are_no_numbers_are_refused_by_name(params, value, problem):
    logits = random_logits(0, VOCAB, None, False)
    logits[4] = value
    both = np.stack([np.zeros(VOCAB, np.float32), logits])
    with pytest.raises(SamplingError, match=f"request 3, position 5: .*{problem}") as error:
        choose(both, [row_for(params, request_id="2"), row_for(params)])
    assert error.value.request_id == "3"


@pytest.mark.parametrize("params", [SamplingParams(), SamplingParams(temperature=1.0)])
def test_a_row_without_candidates_is_refused(params):
    with pytest.raises(SamplingError, match="every logit is -inf"):
        choose(np.full((1, 8), -np.inf, np.float32), [row_for(params)])


def test_a_temperature_that_overflows_is_refused():
    with pytest.raises(SamplingError, match="is inf"):
        choose(np.array([[1.0, 2.0]], np.float32), [row_for(SamplingParams(temperature=1e-40))])


@pytest.mark.parametrize("temperature", [1e-30, 1e-5])
def test_a_tiny_temperature_chooses_the_largest(temperature):
    details = details_of(random_logits(2, VOCAB, None, False), row_for(SamplingParams(temperature=temperature)))
    assert (details.rank, details.probability, details.interval) == (1, 1.0, (0.0, 1.0))


def test_minus_infinity_is_never_chosen():
    logits = np.full((300, 40), -np.inf, np.float32)
    logits[:, [3, 17]] = 0.0
    rows = [row_for(SamplingParams(temperature=5.0, top_k=30), position=position) for position in range(300)]
    assert set(choose(logits, rows).tokens) == {3, 17}


def test_greedy_takes_the_lowest_id_on_ties():
    logits = np.array([[0, 4, 4, 1, 4]], np.float32)
    assert choose(logits, [row_for(SamplingParams())]).tokens == [1]
    biased = SamplingParams(logit_bias={3: 3.0, 1: -1.0})
    assert choose(logits, [row_for(biased)]).tokens == [2]


def test_torch_logits_are_read_in_place():
    logits = torch.randn(2, VOCAB)
    rows = [row_for(SamplingParams()), row_for(SamplingParams(temperature=1.0))]
    assert choose(logits, rows).tokens == choose(logits.numpy(), rows).tokens


def test_logits_of_any_layout_and_precision_are_taken():
    plain = torch.randn(VOCAB, 3).bfloat16()
    logits, rows = plain.t().float(), [row_for(SamplingParams(temperature=1.0), position=i) for i in range(3)]
    assert not logits.is_contiguous()
    assert explain(logits, rows, choose(logits, rows)) == explain(
        logits.contiguous(), rows, choose(logits.contiguous(), rows)
    )


def test_a_bias_on_a_token_that_does_not_exist_is_refused():
    check_vocabulary(SamplingParams(logit_bias={9: 1.0}), 10)
    with pytest.raises(OptionError, match="token 10: the vocabulary has 10"):
        check_vocabulary(SamplingParams(logit_bias={10: 1.0}), 10)


def test_only_stages_that_are_switched_on_run():
    assert active_transforms(SamplingParams()) == active_filters(SamplingParams()) == ()
    assert active_filters(SamplingParams(top_k=5, top_p=0.5)) == ()
    params = SamplingParams(temperature=0.5, top_k=5, min_p=0.1, frequency_penalty=1.0)
    assert active_transforms(params) == ("frequency", "temperature")
    assert active_filters(params) == ("top_k", "min_p")


@given(st.lists(st.integers(-1, 70), max_size=100), st.lists(st.integers(-1, 70), max_size=200))
def test_a_history_counts_like_the_whole_list_would(prompt, output):
    history = TokenHistory(prompt, output[:2], 64)
    early = history.seen()
    frozen = early.ids.tolist(), early.output_counts.tolist()
    for token in output[2:]:
        history.append(token)
    seen = history.seen()
    known = {token for token in prompt + output if 0 <= token < 64}
    assert dict(zip(seen.ids.tolist(), seen.output_counts.tolist(), strict=True)) == {
        token: output.count(token) for token in known
    }
    assert (early.ids.tolist(), early.output_counts.tolist()) == frozen


# --- what is told about a choice


def test_an_interval_is_its_candidates_wherever_the_sorted_head_ends():
    values = np.linspace(0, -1, 700, dtype=np.float32)
    shares = np.exp(values.astype(np.float64)) / np.exp(values.astype(np.float64)).sum()
    for place in range(700):
        point = shares[:place].sum() + shares[place] / 2
        found, low, high = Ranking(values).locate(point, None)
        assert found == place
        assert math.isclose(high - low, shares[place], rel_tol=1e-6)


@settings(max_examples=150, deadline=None)
@given(st.lists(logits_of(700), min_size=1, max_size=4), sampled_params)
def test_the_numbers_describe_the_distributions(logits, params):
    scores = np.stack(logits)
    rows = [row_for(params, position=i) for i in range(len(logits))]
    for raw, details in zip(logits, explain(scores, rows, choose(scores, rows)), strict=True):
        log_p = torch.log_softmax(torch.from_numpy(raw).double(), 0).numpy()
        p = np.exp(log_p)
        surprise = -log_p[p > 0]
        entropy = (p[p > 0] * surprise).sum()
        assert math.isclose(details.raw_logprob, log_p[details.token], abs_tol=1e-6)
        assert math.isclose(details.entropy, entropy, abs_tol=1e-6)
        assert math.isclose(details.varentropy, (p[p > 0] * (surprise - entropy) ** 2).sum(), abs_tol=1e-6)
        assert details.rank == 1 + sorted(range(700), key=lambda i: (-raw[i], i)).index(details.token)
        low, high = details.interval
        assert low <= details.draw < high
        assert math.isclose(high - low, details.probability, rel_tol=1e-6, abs_tol=1e-9)


@settings(max_examples=150, deadline=None)
@given(logits_rows, sampled_params)
def test_candidates_show_probabilities_and_who_removed_them(logits, params):
    details = details_of(logits, row_for(params))
    shown = details.candidates
    kept = kept_logits(logits, row_for(params))
    final = np.exp(kept.astype(np.float64) - kept.max())
    final /= final.sum()
    ids = np.array(shown.ids)
    assert details.token in ids
    assert np.allclose(shown.prob, final[ids], atol=1e-6)
    for place, token in enumerate(ids):
        removed = shown.removing_stage(place)
        assert (removed is not None) == (np.isneginf(kept[token]) and logits[token] > -np.inf)
        if removed:
            result = next(stage for stage in details.stages if stage.stage == removed)
            number = shown.number[place]
            assert {
                "top_k": number > params.top_k,
                "top_p": number >= result.threshold - 1e-6,
                "min_p": number <= result.threshold,
            }[removed]


def test_stages_tell_their_settings_and_how_many_they_kept():
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.06, 0.04], np.float32))
    params = SamplingParams(temperature=1.0, top_k=4, top_p=0.9, min_p=0.6, logit_bias={0: 0.0, 1: 0.0})
    details = details_of(logits, row_for(params))
    assert [(result.stage, result.setting, result.kept) for result in details.stages] == [
        ("logit_bias", 2, 5),
        ("top_k", 4, 4),
        ("top_p", 0.9, 3),
        ("min_p", 0.6, 2),
    ]
    assert [details.candidates.removing_stage(i) for i in range(5)] == [None, None, "min_p", "top_p", "top_k"]
    assert details.candidates.number.tolist() == pytest.approx([0, 0, 0.2 / 0.9, 0.9 / 0.96, 5])
    assert details.stages[-1].threshold == pytest.approx(0.6 * 0.4 / 0.9)


def test_the_chosen_token_is_shown_even_far_down():
    logits = np.linspace(1, 0, 500, dtype=np.float32)
    details = next(
        found for position in range(50)
        if (found := details_of(logits, row_for(SamplingParams(temperature=1.0), position=position))).rank > 20
    )  # fmt: skip
    assert len(details.candidates) == 21
    assert details.candidates.ids[-1] == details.token == details.rank - 1
    assert details.candidates.prob[-1] == pytest.approx(details.probability)


def test_a_penalised_greedy_choice_shows_each_stage():
    logits = np.array([3, 2.5, -1, 0], np.float32)
    params = SamplingParams(repetition_penalty=2.0, logit_bias={1: 0.5})
    details = details_of(logits, row_for(params, seen=TokenHistory([0, 2], [], 4).seen()))
    assert (details.token, details.rank, details.draw, details.interval) == (1, 2, None, None)
    assert details.transforms == ("logit_bias", "repetition")
    assert [column.tolist() for column in details.candidates.values] == [[3, 3, 0, -1], [1.5, 3, 0, -2]]
    assert details.margin == 1.5


def test_reworking_with_other_settings_is_choosing_with_them():
    logits = random_logits(3, VOCAB, None, False)
    row = row_for(SamplingParams(temperature=1.0))
    other = SamplingParams(temperature=0.5, top_p=0.8)
    assert rework(logits, row, other) == details_of(logits, row_for(other))
    assert rework(logits, row, row.params) == details_of(logits, row)


def near_tie(logits, params, draw=None, monkeypatch=None) -> bool:
    if draw is not None:
        monkeypatch.setattr("engine.sampling.uniform", lambda *key: draw)
    return details_of(np.asarray(logits, np.float32), row_for(params)).near_tie


@pytest.mark.parametrize(("gap", "expected"), [(5e-5, True), (5e-4, False)])
def test_a_greedy_near_tie_is_a_small_margin(gap, expected):
    assert near_tie([1 + gap, 1, 0], SamplingParams()) is expected


@pytest.mark.parametrize(("draw", "expected"), [(0.5 + 5e-6, True), (0.5 - 5e-6, True), (0.5 + 1e-4, False)])
def test_a_draw_at_an_edge_is_a_near_tie(draw, expected, monkeypatch):
    logits = np.log([0.5, 0.3, 0.2])
    assert near_tie(logits, SamplingParams(temperature=1.0), draw, monkeypatch) is expected


@pytest.mark.parametrize(("settings_", "probabilities"), [
    ({"top_p": 0.8 + 5e-6}, [0.5, 0.3, 0.2]),
    ({"top_p": 0.8 - 5e-6}, [0.5, 0.3, 0.2]),
    ({"top_k": 2}, [0.4, 0.3, 0.3]),
    ({"min_p": 0.5 + 2e-6}, [0.5, 0.25, 0.25]),
    ({"min_p": 0.5 - 2e-6}, [0.5, 0.25, 0.25]),
])  # fmt: skip
def test_a_threshold_at_a_candidate_is_a_near_tie(settings_, probabilities, monkeypatch):
    logits = np.log(probabilities)
    assert near_tie(logits, SamplingParams(temperature=1.0, **settings_), 0.1, monkeypatch)
    relaxed = {name: value + (1 if name == "top_k" else -0.02) for name, value in settings_.items()}
    assert not near_tie(logits, SamplingParams(temperature=1.0, **relaxed), 0.1, monkeypatch)


@pytest.mark.parametrize(("draw", "expected"), [(0.1, False), (0.5, True), (0.7, True), (0.95, False)])
def test_equal_neighbours_are_a_near_tie_only_for_them(draw, expected, monkeypatch):
    logits = np.log([0.4, 0.25, 0.25, 0.1])
    assert near_tie(logits, SamplingParams(temperature=1.0), draw, monkeypatch) is expected
