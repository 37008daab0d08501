"""Families of requests in a table: every fork under its parent, as a plain sort would have it."""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from sessions.records import RequestRow
from workbench.families import Families
from workbench.known_requests import Rows


class Numbers(Rows):
    """Requests that are nothing but their arrival."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def row(self, index: int) -> RequestRow:
        return cast(RequestRow, index)


def plainly(count: int, live: set[int], parents: dict[int, int]) -> list[int]:
    """The order, by sorting whole families."""

    def family(arrival: int) -> list[int]:
        forks = [fork for fork in range(count) if parents.get(fork) == arrival]
        return [arrival, *(each for fork in forks for each in family(fork))]

    families = [family(root) for root in range(count) if root not in parents]
    alive = [each for each in families if live & set(each)]
    ended = [each for each in reversed(families) if not live & set(each)]
    return [arrival for each in (*alive, *ended) for arrival in each]


@st.composite
def runs(draw: st.DrawFn) -> tuple[int, set[int], dict[int, int]]:
    count = draw(st.integers(0, 24))
    forks = draw(st.sets(st.integers(1, max(1, count - 1)))) if count > 1 else set()
    parents = {fork: draw(st.integers(0, fork - 1)) for fork in forks if fork < count}
    return count, draw(st.sets(st.integers(0, count - 1))) if count else set(), parents


@given(runs())
def test_families_stand_in_the_order_of_whole_families_sorted(run: tuple[int, set[int], dict[int, int]]) -> None:
    count, live, parents = run
    rows = Families(Numbers(count), sorted(live), parents)
    expected = plainly(count, live, parents)
    assert list(rows) == expected
    assert [rows.index_of(arrival) for arrival in expected] == list(range(count))
    assert rows.index_of(count) is None
