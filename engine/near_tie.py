"""Near ties: choices that rounding in the last bits of the logits could have turned.

A float32 row of logits moves by about 1e-6 with the number of rows in its batch. Runs that differ only in
their schedule therefore have to agree on every token except a near tie, and this is the one definition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.ranking import Ranking
from engine.stages import Cut

__all__ = ["GREEDY_MARGIN", "SAMPLED_MARGIN", "greedy_near_tie", "sampled_near_tie"]

GREEDY_MARGIN = 1e-4
SAMPLED_MARGIN = 1e-5


def greedy_near_tie(margin: float) -> bool:
    """The two largest processed logits lie within GREEDY_MARGIN."""
    return margin <= GREEDY_MARGIN


def sampled_near_tie(
    ranking: Ranking, cuts: Sequence[Cut], place: int, interval: tuple[float, float], draw: float
) -> bool:
    """Within SAMPLED_MARGIN: the draw and an edge of the chosen interval, a filter's threshold and a
    candidate it decides (as logits; for top-p as cumulative probability), or the logits of the chosen
    candidate and of a kept neighbour in the order, which in the other order would move the interval.
    """
    low, high = interval
    kept = cuts[-1].kept if cuts else None
    return (
        min(draw - low, high - draw) <= SAMPLED_MARGIN
        or _neighbour_close(ranking, place, kept)
        or any(_CLOSE[cut.stage](ranking, cut, given) for cut, given in _with_given(cuts))
    )


def _neighbour_close(ranking: Ranking, place: int, kept: int | None) -> bool:
    ranking.at_least(place + 2)
    last = (len(ranking.ids) if kept is None else kept) - 1
    return (place > 0 and _gap(ranking, place - 1) <= SAMPLED_MARGIN) or (
        place < last and _gap(ranking, place) <= SAMPLED_MARGIN
    )


def _gap(ranking: Ranking, place: int) -> float:
    return float(ranking.sorted[place]) - float(ranking.sorted[place + 1])


def _with_given(cuts: Sequence[Cut]) -> list[tuple[Cut, int | None]]:
    """Each filter with the number of candidates it was given (None: all)."""
    return list(zip(cuts, [None, *(cut.kept for cut in cuts)], strict=False))


def _decided(ranking: Ranking, cut: Cut, given: int | None) -> list[int]:
    """The places on both sides of the cut; the first candidate is kept whatever the threshold."""
    ranking.at_least(cut.kept + 1)
    end = len(ranking.ids) if given is None else given
    return [place for place in (cut.kept - 1, cut.kept) if 0 < place < end]


def _top_k_close(ranking: Ranking, cut: Cut, given: int | None) -> bool:
    tied_at_the_cut = cut.kept > cut.setting
    return tied_at_the_cut or (
        cut.kept in _decided(ranking, cut, given) and _gap(ranking, cut.kept - 1) <= SAMPLED_MARGIN
    )


def _top_p_close(ranking: Ranking, cut: Cut, given: int | None) -> bool:
    return any(
        abs(float(ranking.cumulative[place - 1]) / cut.mass - cut.threshold) <= SAMPLED_MARGIN
        for place in _decided(ranking, cut, given)
    )


def _min_p_close(ranking: Ranking, cut: Cut, given: int | None) -> bool:
    smallest_kept = ranking.top + math.log(cut.setting)
    return any(
        abs(float(ranking.sorted[place]) - smallest_kept) <= SAMPLED_MARGIN
        for place in _decided(ranking, cut, given)
    )


_CLOSE = {"top_k": _top_k_close, "top_p": _top_p_close, "min_p": _min_p_close}
