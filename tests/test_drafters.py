"""What the built-in drafters propose, as far as it needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.drafting import Draft, remember
from engine.drafts import DraftRequest
from engine.events import Spread
from engine.params import SamplingParams
from engine.sampling import SamplerRow
from plugins.errors import PluginError
from plugins.loading import load_plugins
from plugins.speculative.drawing import MOST_CANDIDATES, draw, pick, spread_of
from plugins.speculative.lengths import length
from plugins.speculative.ngram import NGram, continuation, continuations
from plugins.speculative.skip_layers import parse_layers
from plugins.speculative.tree import merged
from plugins.testing import provided


def asked(tokens: Sequence[int], most: int = 50, recent: tuple[tuple[int, int], ...] = ()) -> DraftRequest:
    return DraftRequest("1", tokens, 1, SamplingParams(), 0, 0, most, (), recent)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 5), st.integers(1, 3))
def test_the_longest_suffix_that_stands_earlier_is_found_where_it_is_last(tokens, longest, shortest) -> None:
    def places(size: int) -> list[int]:
        starts = range(len(tokens) - size)
        return [at + size for at in starts if tokens[at : at + size] == tokens[len(tokens) - size :]]

    sizes = [size for size in range(min(longest, len(tokens) - 1), shortest - 1, -1) if places(size)]
    assert continuation(tokens, longest, shortest) == (max(places(sizes[0])) if sizes else None)
    found = continuations(tokens, longest, shortest, 3)
    assert len({tokens[at] for at in found}) == len(found) <= 3
    assert found[:1] == ([max(places(sizes[0]))] if sizes else [])
    assert all(any(at in places(size) for size in sizes) for at in found)


def test_lookup_drafts_what_followed_and_no_more_than_is_wanted() -> None:
    (lookup,) = provided(NGram(), "tokens:4,max_ngram:2")
    (draft,) = lookup.propose_drafts([asked([7, 1, 2, 3, 4, 5, 1, 2])])
    assert draft == Draft.sure([3, 4, 5, 1])
    (draft,) = lookup.propose_drafts([asked([7, 1, 2, 3, 4, 5, 1, 2], most=2)])
    assert draft == Draft.sure([3, 4])
    assert lookup.propose_drafts([asked([1, 2, 3])]) == [None]


@pytest.mark.parametrize(
    ("recent", "tokens"),
    [((), 6), (((6, 6),), 6), (((6, 0), (6, 0)), 1), (((4, 2), (4, 2)), 3), (((2, 2), (3, 3)), 5)],
)
def test_an_adaptive_draft_is_as_long_as_what_was_accepted_and_one_more(recent, tokens) -> None:
    assert length(asked([1], recent=recent), 6, True) == tokens
    assert length(asked([1], recent=recent), 6, False) == 6
    assert length(asked([1], most=1, recent=recent), 6, True) == 1


def test_a_request_remembers_its_latest_verifications() -> None:
    recent: tuple[tuple[int, int], ...] = ()
    for at in range(20):
        recent = remember(recent, at, 0)
    assert [drafted for drafted, _ in recent] == list(range(12, 20))


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), min_size=1, max_size=4))
def test_lines_become_one_tree_and_come_out_of_it_again(lines) -> None:
    draft = merged(lines)
    paths = [[draft.tokens[node] for node in draft.path(at)] for at in range(len(draft))]
    assert sorted(paths) == sorted(
        {tuple(line[: n + 1]): line[: n + 1] for line in lines for n in range(len(line))}.values()
    )
    assert sorted(node for branch in draft.branches() for node in branch) == list(range(len(draft)))
    assert draft.depth(len(draft)) == max(map(len, lines))
    for branch in draft.branches():
        assert all(draft.parent(node) == before for before, node in pairwise(branch))


def test_a_draft_is_drawn_from_what_the_filters_leave_of_few_candidates() -> None:
    raw = np.linspace(5, -5, 100).astype(np.float32)
    row = SamplerRow("1", SamplingParams(temperature=2.0), 3, 0, 9)
    spread = spread_of(raw / 2, row)
    assert spread.ids == tuple(range(MOST_CANDIDATES))
    assert sum(spread.probs) == pytest.approx(1)
    assert spread.probs[0] / spread.probs[1] == pytest.approx(np.exp((raw[0] - raw[1]) / 2), rel=1e-5)
    few = spread_of(raw, SamplerRow("1", SamplingParams(temperature=1.0, top_k=3), 3, 0, 9))
    assert few.ids == (0, 1, 2)
    assert draw(raw, SamplerRow("1", SamplingParams(), 0, 0, 9)) == (0, None)
    token, drawn = draw(raw, row)
    assert drawn == spread
    assert token in spread.ids


def test_a_point_picks_the_token_whose_interval_holds_it() -> None:
    spread = Spread((4, 9, 2), (0.5, 0.25, 0.25))
    assert [pick(spread, point) for point in (0.0, 0.499, 0.5, 0.75, 0.9999999)] == [4, 4, 9, 2, 2]


@pytest.mark.parametrize(("text", "layers"), [("", None), ("2", {2}), ("1-3", {1, 2, 3}), ("1+4-5", {1, 4, 5})])
def test_layers_are_read(text: str, layers: set[int] | None) -> None:
    assert parse_layers(text) == layers


@pytest.mark.parametrize("text", ["x", "3-1", "1,2", "-1", "1-"])
def test_layers_that_make_no_sense_are_one_line(text: str) -> None:
    with pytest.raises(PluginError, match="use layers such as 1-4 or 1\\+3"):
        parse_layers(text)


@pytest.mark.parametrize(
    ("plugins", "problem"),
    [
        (["ngram", "tree=source:ngram"], "both ngram and tree bring a drafter: use one of them"),
        (["ngram", "sinks"], "ngram drafts tokens and sinks drops KV"),
        (["ngram=min_ngram:5"], "min_ngram is 5: max_ngram is 4"),
        (["draft=model:nowhere"], "model is 'nowhere': that folder has no config.json"),
        (["ngram=tokens:0"], "tokens"),
    ],
)
def test_what_cannot_draft_is_refused_in_one_line(plugins: list[str], problem: str) -> None:
    with pytest.raises(PluginError) as refused:
        load_plugins(plugins)
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)
