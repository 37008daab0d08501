"""The candidates of a row in order of descending logit, sorted only as far as somebody asks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Ranking", "Row", "heads"]

Row = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

_HEAD = 64
_GROWTH = 8
_BLOCK = 16
_CHUNK = 1 << 14


class Ranking:
    """A row of logits [vocab] ordered by descending value, ties by token id; -inf is no candidate.

    Only a head of the order is sorted; it grows when a question reaches beyond it. The answers do not
    depend on how far that was. Weights are exp(logit - largest) in float64.

    ```
    ids         |  t0   t1   t2   t3 |  unsorted rest
    weights     |  1.0  w1   w2   w3 |
    cumulative  |  1.0  ...          |         the cumulative distribution, not yet divided by the mass
    ```
    """

    def __init__(self, values: Row) -> None:
        self.values = values
        self.top = float(values.max())
        self._full_mass: float | None = None
        self._sort(_HEAD)

    def _sort(self, n: int) -> None:
        """Sort at least the n largest, with all that equal the last sorted."""
        chosen, self.complete = _largest(self.values, n)
        descending = -self.values[chosen]
        order = descending.argsort(kind="stable")
        self.ids = chosen[order]
        self.sorted = -descending[order]
        self.weights = np.exp(self.sorted.astype(np.float64) - self.top)
        self.cumulative = self.weights.cumsum()

    def _grow(self) -> None:
        assert not self.complete
        self._sort(len(self.ids) * _GROWTH)

    def at_least(self, n: int) -> None:
        """Sort at least the n largest, or all there are."""
        if len(self.ids) < n and not self.complete:
            self._sort(n)

    def down_to(self, value: float) -> None:
        """Sort everything that is `value` or more."""
        while not self.complete and self.sorted[-1] > value:
            self._grow()

    def mass(self, kept: int | None = None) -> float:
        """The weight of the first `kept` candidates, or of all."""
        if kept is not None:
            return float(self.cumulative[kept - 1])
        if self._full_mass is None:
            self._full_mass = _sum_of_weights(self.values, self.top)
        return self._full_mass

    def kth_largest(self, k: int) -> tuple[float, int]:
        """The k-th largest logit (the last, if there are fewer) and how many are that or more."""
        self.at_least(k)
        smallest = self.sorted[min(k, len(self.sorted)) - 1]
        return float(smallest), int(np.count_nonzero(self.sorted >= smallest))

    def count_before_mass(self, mass: float) -> int:
        """How many candidates have less than `mass` before them."""
        while self.cumulative[-1] < mass and not self.complete:
            self._grow()
        return min(1 + int(self.cumulative.searchsorted(mass)), len(self.ids))

    def count_heavier(self, weight: float) -> int:
        """How many candidates have this weight (of the first's 1.0) or more."""
        while self.weights[-1] >= weight and not self.complete:
            self._grow()
        return int(np.count_nonzero(self.weights >= weight))

    def locate(self, point: float, kept: int | None) -> tuple[int, float, float]:
        """The candidate whose interval [low, high) of the cumulative distribution holds `point` in [0, 1).

        Returns its place in the order and the interval. The last interval ends at 1 whatever was lost to
        rounding.
        """
        mass = self.mass(kept)
        while kept is None and not self.complete and self.cumulative[-1] / mass <= point:
            self._grow()
        last = (len(self.ids) if kept is None else kept) - 1
        edges = self.cumulative[: last + 1] / mass
        place = min(int(edges.searchsorted(point, side="right")), self._last_heavy(last))
        ends = place == last and (kept is not None or self.complete)
        return place, self._edge_before(place, mass), 1.0 if ends else float(edges[place])

    def _last_heavy(self, last: int) -> int:
        """The last place, up to `last`, with any weight at all."""
        if self.weights[last] > 0:
            return last
        return int(np.count_nonzero(self.weights[: last + 1])) - 1

    def _edge_before(self, place: int, mass: float) -> float:
        return float(self.cumulative[place - 1] / mass) if place else 0.0


def heads(scores: npt.NDArray[np.float32], n: int) -> Ids:
    """The n first candidates of each row of `scores` [rows, vocab], as a `Ranking` orders them: [rows, <= n].

    Where a row has fewer candidates, ids of -inf follow.
    """
    n = min(n, scores.shape[1])
    reached = scores >= _reached_by(scores, n)[:, None]
    row, ids = np.divmod(np.flatnonzero(reached), scores.shape[1])
    order = np.lexsort((-scores[row, ids], row))
    starts = row.searchsorted(np.arange(len(scores)))
    found: Ids = ids[order[starts[:, None] + np.arange(n)]]
    return found


def _largest(values: Row, n: int) -> tuple[Ids, bool]:
    """The n largest or some more, down to one common value: ascending ids, and whether those are all."""
    smallest = _reached_by(values, n) if n < len(values) else -np.inf
    if smallest == -np.inf:
        return (values > -np.inf).nonzero()[0], True
    return (values >= smallest).nonzero()[0], False


def _reached_by(values: npt.NDArray[np.float32], n: int) -> npt.NDArray[np.float32]:
    """Of each row of `values` [..., vocab], a value that at least n reach, and seldom many more.

    The n-th largest of the maxima of blocks is one, and far cheaper to find in a large vocabulary than the
    n-th largest of all.
    """
    *rows, vocab = values.shape
    blocks = vocab // _BLOCK
    in_blocks = values[..., : blocks * _BLOCK].reshape(*rows, _BLOCK, blocks)
    pool = in_blocks.max(axis=-2) if blocks >= 4 * n else values.copy()
    cut = pool.shape[-1] - n
    pool.partition(cut, axis=-1)
    return pool[..., cut]


def _sum_of_weights(values: Row, top: float) -> float:
    """The sum of exp(value - top) in float64, a cacheful at a time."""
    chunks = (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))
    return sum(float(np.exp(np.subtract(chunk, top, dtype=np.float64)).sum()) for chunk in chunks)
