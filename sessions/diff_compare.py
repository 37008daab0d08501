"""Two requests compared position by position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from sessions.diff_distributions import Distribution, divergence
from sessions.diff_result import Basis, FirstToken, PairDifference, PositionDifference
from sessions.diff_side import Side


def compare_pair(a: Side, b: Side, one: str, other: str) -> PairDifference:
    """Request `one` of A with `other` of B, up to and with the first position where their tokens differ."""
    ids_a, ids_b = a.ids(one), b.ids(other)
    at = first_difference(ids_a, ids_b)
    first = None if at is None else first_token_of(a, b, one, other, at)
    start = max(a.prompt_tokens(one), b.prompt_tokens(other))
    stop = min(len(ids_a), len(ids_b)) if at is None else min(at + 1, len(ids_a), len(ids_b))
    return PairDifference(one, other, first, list(_positions(a, b, one, other, range(start, stop))))


def first_difference(a: Sequence[int], b: Sequence[int]) -> int | None:
    """The first index where two sequences differ, their ends included; None when they are equal."""
    both = min(len(a), len(b))
    if list(a[:both]) == list(b[:both]):
        return both if len(a) != len(b) else None
    return next(index for index in range(both) if a[index] != b[index])


def compare_position(a: Side, b: Side, one: str, other: str, position: int) -> PositionDifference | None:
    """How A and B chose at `position` after the same tokens; None where one of them recorded nothing."""
    of_a, of_b = a.distribution(one, position), b.distribution(other, position)
    row_a, row_b = a.token(one, position), b.token(other, position)
    if of_a is None or of_b is None or row_a is None or row_b is None:
        return None
    same = row_a.logits_hash is not None and row_a.logits_hash == row_b.logits_hash
    return apart(of_a, of_b, position, row_a.token, same)


def apart(a: Distribution, b: Distribution, position: int, token: int, same: bool) -> PositionDifference:
    """How far two distributions lie apart; ranks are those of `token`."""
    kl, basis = (0.0, _basis(a, b)) if same else _divergence(a, b)
    return PositionDifference(position, kl, basis, a.top == b.top, a.rank(token), b.rank(token), same)


def first_token_of(a: Side, b: Side, one: str, other: str, at: int) -> FirstToken:
    """What both requests have at position `at`, where their tokens part."""
    ids_a, ids_b = a.ids(one), b.ids(other)
    token_a = ids_a[at] if at < len(ids_a) else None
    token_b = ids_b[at] if at < len(ids_b) else None
    row_a, row_b = a.token(one, at), b.token(other, at)
    return FirstToken(
        one, other, at, token_a, token_b, a.text(token_a), b.text(token_b),
        row_a.margin if row_a else None, row_b.margin if row_b else None,
        near_tie=bool((row_a and row_a.near_tie) or (row_b and row_b.near_tie)),
        prompt=at < max(a.prompt_tokens(one), b.prompt_tokens(other)),
    )  # fmt: skip


def _positions(a: Side, b: Side, one: str, other: str, wanted: range) -> Iterator[PositionDifference]:
    for position in wanted:
        if (found := compare_position(a, b, one, other, position)) is not None:
            yield found


def _divergence(a: Distribution, b: Distribution) -> tuple[float, Basis]:
    if a.known() is not None or b.known() is not None:
        return divergence(a, b), "top 20"
    from sessions.diff_whole import Whole, whole_divergence

    return whole_divergence(cast(Whole, a), cast(Whole, b)), _basis(a, b)


def _basis(a: Distribution, b: Distribution) -> Basis:
    """The weaker of two."""
    return next(basis for basis in ("top 20", "recomputed", "captured") if basis in (a.basis, b.basis))
