"""The draw on its distribution: the recorded interval of the chosen token, and the others around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.details import TokenDetails
from workbench.views.tokens_stages import order
from workbench.widgets.cdfbar import Share

NOTHING = 1e-6


@dataclass(frozen=True, slots=True)
class DrawnFrom:
    """Intervals from 0 to 1 in the order the draw walks them, and the candidate row of each (None: several).

    The chosen interval is as recorded. With penalties or biases, candidates that were not recorded may stand
    among the others: then `exact` is False, and the others' places are not (their widths are).
    """

    shares: tuple[Share, ...]
    rows: tuple[int | None, ...]
    chosen: int
    exact: bool


def drawn_from(details: TokenDetails, text: Callable[[int], str]) -> DrawnFrom | None:
    """The distribution a token was drawn from; None for a greedy choice."""
    if details.interval is None:
        return None
    low, high = details.interval
    candidates = details.candidates
    walk = _Walk()
    chosen = 0
    before = True
    for index in (index for index in order(details) if not candidates.removed_by[index]):
        label = f"'{text(candidates.ids[index])}'"
        if candidates.ids[index] == details.token:
            walk.others_until(low)
            chosen = walk.add(label, high, index)
            before = False
        else:
            walk.add(label, min(walk.edge + candidates.prob[index], low if before else 1.0), index)
    walk.others_until(1.0)
    exact = _in_raw_order(details) or None not in walk.rows
    return DrawnFrom(tuple(walk.shares), tuple(walk.rows), chosen, exact)


class _Walk:
    """Intervals laid end to end."""

    def __init__(self) -> None:
        self.edge = 0.0
        self.shares: list[Share] = []
        self.rows: list[int | None] = []

    def add(self, label: str, until: float, row: int | None) -> int:
        """Lay the next interval, up to `until`; returns its number."""
        self.shares.append(Share(label, until - self.edge, quiet=row is None))
        self.rows.append(row)
        self.edge = until
        return len(self.shares) - 1

    def others_until(self, edge: float) -> None:
        """What lies between here and `edge` was not recorded one by one; next to nothing is rounding."""
        gap = edge - self.edge
        if gap > NOTHING:
            self.add("others", edge, None)
        elif gap and self.shares:
            self.shares[-1] = self.shares[-1]._replace(probability=self.shares[-1].probability + gap)
            self.edge = edge


def _in_raw_order(details: TokenDetails) -> bool:
    return all(stage == "temperature" for stage in details.transforms)


__all__ = ["DrawnFrom", "drawn_from"]
