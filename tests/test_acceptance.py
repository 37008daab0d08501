"""What is chosen with drafts is distributed as without them; the same statistic sees faults of the scheme."""

from __future__ import annotations

import itertools
import zlib
from array import array
from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
import torch

from engine import acceptance
from engine.acceptance import Target, locate, verify, without
from engine.drafting import Draft
from engine.draws import uniform
from engine.events import Spread
from engine.history import SeenTokens, TokenHistory
from engine.params import SamplingParams
from engine.sampling import SamplerRow
from plugins.speculative.drawing import pick, spread_of

VOCAB, POSITIONS, DRAWS = 6, 3, 20_000
FAULTY = 5_000  # draws that are enough to see a fault
PROMPT = (0, 3)
PLAIN = SamplingParams(temperature=1.0)
STAGES = SamplingParams(
    temperature=0.6, top_k=5, top_p=0.97, repetition_penalty=1.4, frequency_penalty=0.3, logit_bias={2: 0.5}
)
PARAMS = {
    "plain": PLAIN,
    "stages": STAGES,
    "greedy": SamplingParams(),
    "warm": SamplingParams(temperature=1.0, repetition_penalty=STAGES.repetition_penalty),
}
ENOUGH, TOO_FEW = 1e-4, 1e-8
"""The p-value of a true scheme is above the one, that of a faulty one below the other."""


@cache
def logits_of(tokens: tuple[int, ...], whose: str) -> npt.NDArray[np.float32]:
    """The logits [vocab] of one of two models that resemble each other."""
    seed = zlib.crc32(array("i", tokens).tobytes())
    shared, own = np.random.default_rng(seed), np.random.default_rng([seed, len(whose)])
    return (shared.normal(0, 1.2, VOCAB) + own.normal(0, 0.8, VOCAB)).astype(np.float32)


def logits_after(tokens: Sequence[int], whose: str) -> npt.NDArray[np.float32]:
    return logits_of(tuple(tokens), whose)


@cache
def seen_in(tokens: tuple[int, ...]) -> SeenTokens:
    return TokenHistory(PROMPT, tokens, VOCAB).seen()


@cache
def drafted_from(tokens: tuple[int, ...], kind: str) -> Spread:
    """What a drafting model draws from."""
    return spread_of(logits_after(tokens, "draft"), row_of(tokens, kind, 0))


def row_of(tokens: Sequence[int], kind: str, seed: int) -> SamplerRow:
    return SamplerRow("1", PARAMS[kind], seed, 0, len(PROMPT) + len(tokens), seen_in(tuple(tokens)))


def chain(tokens: Sequence[int], kind: str, seed: int, length: int) -> Draft:
    """A chain that a drafting model draws."""
    found: list[int] = []
    spreads: list[Spread] = []
    for _ in range(length):
        before = (*tokens, *found)
        spread = drafted_from(before, kind)
        found.append(pick(spread, uniform(seed, 0, len(PROMPT) + len(before), "draft")))
        spreads.append(spread)
    return Draft.drawn(found, spreads)


def chain_before_temperature(tokens: Sequence[int], kind: str, seed: int, length: int) -> Draft:
    """The same chain, with q as it was before the temperature."""
    right = chain(tokens, kind, seed, length)
    spreads = []
    for at in range(length):
        before = (*tokens, *right.tokens[:at])
        spreads.append(drafted_from(before, "warm"))
    return Draft.drawn(right.tokens, spreads)


def guesses(tokens: Sequence[int], kind: str, seed: int, length: int) -> Draft:
    """Drafts that were not drawn, as prompt lookup makes them."""
    return Draft.sure([(7 * len(tokens) + 3 * at) % VOCAB for at in range(length)])


def likely_tree(tokens: Sequence[int], kind: str, seed: int, length: int) -> Draft:
    """The two likeliest tokens of a drafting model, and two after each."""
    first = logits_after(tokens, "draft").argsort()[::-1][:2].tolist()
    second = [logits_after((*tokens, token), "draft").argsort()[::-1][:2].tolist() for token in first]
    return Draft.sure([*first, *second[0], *second[1]], [-1, -1, 0, 0, 1, 1])


def drawn_siblings(tokens: Sequence[int], kind: str, seed: int, length: int) -> Draft:
    """Three tokens for one position, each drawn from the same distribution."""
    spread = drafted_from(tuple(tokens), kind)
    found = [pick(spread, uniform(seed, 0, len(PROMPT) + len(tokens), "draft", turn)) for turn in range(3)]
    drawn = Draft.drawn(found, [spread] * 3)
    return Draft(drawn.tokens, drawn.q, drawn.spreads, (-1, -1, -1))


def outcomes(drafts, kind: str, draws: int = DRAWS, first_seed: int = 0) -> Counter[tuple[int, ...]]:
    """The first tokens of `draws` requests that differ in their seed."""
    found: Counter[tuple[int, ...]] = Counter()
    for seed in range(first_seed, first_seed + draws):
        tokens: tuple[int, ...] = ()
        while len(tokens) < POSITIONS:
            draft = drafts(tokens, kind, seed, min(2, POSITIONS - len(tokens)))
            tokens += tuple(checked(draft, tokens, kind, seed).tokens)
        found[tokens[:POSITIONS]] += 1
    return found


def checked(draft: Draft, tokens: Sequence[int], kind: str, seed: int):
    def raw_at(node: int, _depth: int) -> npt.NDArray[np.float32]:
        path: list[int] = []
        while node >= 0:
            path.insert(0, draft.tokens[node])
            node = draft.parent(node)
        return logits_after((*tokens, *path), "target")

    return verify(draft, raw_at, lambda _raw, accepted: row_of((*tokens, *accepted), kind, seed))


def expected(kind: str) -> dict[tuple[int, ...], float]:
    """The probability of every beginning under the target alone."""
    found: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(POSITIONS):
        found = {
            (*tokens, token): p * float(q)
            for tokens, p in found.items()
            for token, q in enumerate(Target.of(logits_after(tokens, "target"), row_of(tokens, kind, 0)).probs())
            if q > 0
        }
    return found


def p_value(found: Counter[tuple[int, ...]], probs: dict[tuple[int, ...], float]) -> float:
    """Of the chi-square statistic; cells that are expected less than five times are taken together."""
    assert found.keys() <= probs.keys(), "something was chosen that the target never chooses"
    draws = found.total()
    cells = [(found[key], draws * p) for key, p in probs.items()]
    large = [cell for cell in cells if cell[1] >= 5]
    rest = [cell for cell in cells if cell[1] < 5]
    if rest:
        large.append((sum(seen for seen, _ in rest), sum(wanted for _, wanted in rest)))
    statistic = sum((seen - wanted) ** 2 / wanted for seen, wanted in large)
    half = torch.tensor([(len(large) - 1) / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The target's distribution is worked out once for each row: the same goes into every draw."""
    known: dict[object, Target] = {}
    work_out = Target.of

    def of(raw, row):
        key = raw.tobytes(), row.params.temperature, row.position, id(row.seen)
        if key not in known:
            known[key] = work_out(raw, row)
        return known[key]

    monkeypatch.setattr(Target, "of", staticmethod(of))


@pytest.mark.usefixtures("remembered")
@pytest.mark.parametrize(
    ("drafts", "kind"),
    [
        (chain, "stages"),
        (chain, "plain"),
        (guesses, "stages"),
        (likely_tree, "stages"),
        (drawn_siblings, "plain"),
    ],
)
def test_the_first_three_tokens_are_distributed_as_the_target_alone_chooses_them(drafts, kind) -> None:
    assert p_value(outcomes(drafts, kind), expected(kind)) > ENOUGH


@pytest.mark.usefixtures("remembered")
def test_a_q_from_before_the_temperature_is_seen() -> None:
    assert p_value(outcomes(chain_before_temperature, "stages", FAULTY), expected("stages")) < TOO_FEW


@pytest.mark.usefixtures("remembered")
def test_a_residual_that_is_not_renormalised_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_divided(probs, spread):
        left = probs.copy()
        left[list(spread.ids)] = np.maximum(left[list(spread.ids)] - np.array(spread.probs), 0.0)
        return left, float(left.sum())

    def as_if_it_were_whole(probs, point):
        cumulative = probs.cumsum()
        token = min(int(cumulative.searchsorted(point, side="right")), int(probs.nonzero()[0][-1]))
        return token, 0.0, 1.0

    monkeypatch.setattr(acceptance, "without", not_divided)
    monkeypatch.setattr(acceptance, "locate", as_if_it_were_whole)
    assert p_value(outcomes(chain, "stages", FAULTY), expected("stages")) < TOO_FEW


@pytest.mark.usefixtures("remembered")
def test_a_residual_that_is_the_target_itself_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptance, "without", lambda probs, _spread: (probs, 1.0))
    assert p_value(outcomes(chain, "plain", FAULTY), expected("plain")) < TOO_FEW


def test_what_a_rejection_leaves_sums_to_one_and_has_nothing_of_a_sure_draft() -> None:
    probs = np.array([0.5, 0.3, 0.2, 0.0])
    left, mass = without(probs, Spread((0,), (1.0,)))
    assert left.tolist() == [0.0, 0.6, 0.4, 0.0]
    assert mass == pytest.approx(0.5)
    left, mass = without(probs, Spread((0, 1), (0.9, 0.1)))
    assert left == pytest.approx([0.0, 0.5, 0.5, 0.0])
    assert mass == pytest.approx(0.4)


def test_a_token_is_found_by_its_interval_and_never_one_of_no_probability() -> None:
    probs = np.array([0.0, 0.25, 0.0, 0.75, 0.0])
    assert [locate(probs, point)[0] for point in (0.0, 0.2499, 0.25, 0.999999)] == [1, 1, 3, 3]
    assert locate(probs, 0.3) == (3, 0.25, 1.0)


def test_each_verdict_says_its_numbers() -> None:
    for seed in range(200):
        draft = chain((), "plain", seed, 2)
        found = checked(draft, (), "plain", seed)
        for verdict, index in zip(found.verdicts, itertools.count()):
            if verdict.verdict == "unused":
                assert (verdict.p, verdict.ratio, verdict.draw) == (None, None, None)
                continue
            assert verdict.p is not None
            assert verdict.draw is not None
            assert verdict.ratio == pytest.approx(verdict.p / draft.q[index])
            assert (verdict.draw < verdict.ratio) == (verdict.verdict == "accepted")
        if found.residual is not None:
            assert found.residual.low <= found.residual.draw < found.residual.high
            assert found.tokens[-1] == found.residual.token
            assert found.bonus is None
        assert (found.bonus is not None) == all(each.verdict == "accepted" for each in found.verdicts)


def test_a_greedy_request_takes_the_likeliest_token_whatever_is_drafted() -> None:
    best: list[int] = []
    for _ in range(3):
        best.append(int(logits_after(best, "target").argmax()))
    for wrong in (None, 0, 1):
        tokens = [token if at != wrong else (token + 1) % VOCAB for at, token in enumerate(best[:2])]
        found = checked(Draft.sure(tokens), (), "greedy", 0)
        assert found.tokens == best[: 3 if wrong is None else wrong + 1]
        assert found.residual is None


def test_an_output_that_ends_inside_a_draft_leaves_the_rest_unused() -> None:
    tried = (checked(chain((), "plain", seed, 2), (), "plain", seed) for seed in range(99))
    found = next(each for each in tried if len(each.tokens) == 3)
    verdicts, residual, bonus = found.first(1)
    assert [each.verdict for each in verdicts] == ["accepted", "unused"]
    assert (residual, bonus) == (None, None)
