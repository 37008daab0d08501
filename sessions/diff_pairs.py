"""Which request of one run is to be compared with which of another."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sessions.diff_side import Side
from sessions.errors import SessionError
from sessions.records import RequestRow


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of request ids, and those that found no other."""

    both: Sequence[tuple[str, str]]
    only_a: Sequence[str] = ()
    only_b: Sequence[str] = ()


def pair_up(a: Side, b: Side) -> Pairs:
    """Pair requests by their line of the workload, which is their number, and by sample.

    Requests of one number with different prompts do not belong together; among those left over, equal prompts
    are paired in order of arrival.
    """
    rows_a, rows_b = a.requests(), b.requests()
    prompts = _Prompts(a), _Prompts(b)
    others = {row.request: row for row in rows_b}
    both = {
        row.request: row.request
        for row in rows_a
        if row.request in others and prompts[0].of(row) == prompts[1].of(others[row.request])
    }
    left_a = [row for row in rows_a if row.request not in both]
    left_b = [row for row in rows_b if row.request not in both]
    both |= _by_prompt(left_a, left_b, prompts)
    taken = set(both.values())
    return Pairs(
        [(row.request, both[row.request]) for row in rows_a if row.request in both],
        [row.request for row in rows_a if row.request not in both],
        [row.request for row in rows_b if row.request not in taken],
    )


def partner_of(a: Side, b: Side, request: str) -> str | None:
    """The request of B that belongs to one of A, found as `pair_up` does but for this one alone."""
    row = a.session.request(request, a.branch)
    prompt = a.prompt_ids(request)
    others = {other.request: other for other in b.requests()}
    first = [others[request]] if request in others else []
    for other in (*first, *others.values()):
        alike = other.sample == row.sample and other.prompt_tokens == row.prompt_tokens
        if alike and b.prompt_ids(other.request) == prompt:
            return other.request
    return None


def parse_pairs(a: Side, b: Side, wanted: Sequence[str]) -> Pairs:
    """The pairs that a person names as `A:B`. Raises SessionError for one that is not there."""
    both = []
    for text in wanted:
        one, colon, other = text.partition(":")
        if not colon or not one or not other:
            raise SessionError(f"--pair is {text!r}: write the ids of two requests, as in 1:1 or 3.0:4")
        a.prompt_tokens(one), b.prompt_tokens(other)  # an error where there is none
        both.append((one, other))
    return Pairs(both)


def _by_prompt(
    left_a: Sequence[RequestRow], left_b: Sequence[RequestRow], prompts: tuple[_Prompts, _Prompts]
) -> dict[str, str]:
    free: defaultdict[tuple[int, bytes], list[str]] = defaultdict(list)
    for row in left_b:
        free[row.sample, prompts[1].of(row)].append(row.request)
    found: dict[str, str] = {}
    for row in left_a:
        if same := free.get((row.sample, prompts[0].of(row))):
            found[row.request] = same.pop(0)
    return found


class _Prompts:
    """The prompts of one side's requests as bytes, each read once."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._known: dict[str, bytes] = {}

    def of(self, row: RequestRow) -> bytes:
        if row.request not in self._known:
            self._known[row.request] = array("i", self._side.prompt_ids(row.request)).tobytes()
        return self._known[row.request]
