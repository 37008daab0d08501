"""What the heads of one row attended to: an inspection's arrays by layer and head, and their numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from engine import protocol as pr

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]


class Measure(NamedTuple):
    """A number of every head, 0 to 1 or more, and what it says."""

    name: str
    title: str
    says: str


MEASURES: tuple[Measure, ...] = (
    Measure("map", "maps", "queries down, keys across; brighter is more, on a square-root scale"),
    Measure("entropy", "entropy", "how spread the row is: bright looks everywhere, dark at one token"),
    Measure("sink", "sink", "how much went to the first token"),
    Measure("distance", "distance", "how far back it looks on average, of the whole context"),
    Measure("previous", "previous token", "how much went to the token before the row's own"),
    Measure("induction", "induction", "how much went to tokens that followed this same token earlier"),
)


class Attended(NamedTuple):
    """A key position (the first of `pool` where the row is pooled) and its weight."""

    position: int
    weight: float


@dataclass(frozen=True)
class Heads:
    """One inspected row. `ids` are the request's token ids up to and with the row."""

    inspection: pr.Inspection
    ids: Sequence[int]

    @property
    def row(self) -> int:
        return self.inspection.position

    @property
    def pool(self) -> int:
        return self.inspection.pool

    @property
    def captured(self) -> bool:
        """Whether this was kept while the engine ran, not computed again."""
        return math.isnan(self.inspection.check)

    def has(self, layer: int) -> bool:
        """Whether this layer was captured; of an inspection all are there."""
        return not math.isnan(float(self.rows[layer, 0, 0]))

    @cached_property
    def rows(self) -> Floats:
        """[layers, heads, columns]: what the row attended to."""
        seen = self.inspection
        return _array(seen.row, seen.layers, seen.heads, -1)

    @cached_property
    def grids(self) -> Floats:
        """[layers, heads, grid, grid]: the latest rows, max-pooled."""
        seen = self.inspection
        return _array(seen.grid, seen.layers, seen.heads, seen.grid_size, seen.grid_size)

    @cached_property
    def focus(self) -> Floats:
        """[rows, columns] of the head that was asked for, later keys masked."""
        import numpy as np

        seen = self.inspection
        values = _array(seen.focus, seen.rows, -1).copy()
        first = seen.kv - seen.rows
        keys = np.arange(values.shape[1]) * seen.pool
        values[keys[None, :] > first + np.arange(seen.rows)[:, None]] = np.nan
        return values

    def measure(self, name: str) -> Floats:
        """[layers, heads]: a measure by its name."""
        return self._measures[name]

    @cached_property
    def _measures(self) -> dict[str, Floats]:
        seen = self.inspection
        shape = seen.layers, seen.heads
        return {
            "entropy": _array(seen.head_entropy, *shape),
            "sink": _array(seen.head_sink, *shape),
            "distance": _array(seen.head_distance, *shape),
            "previous": self._weight_on([self.row - 1] if self.row else []),
            "induction": self._weight_on(self.followers),
        }

    @property
    def exact(self) -> bool:
        """Whether every position has its own column."""
        return self.pool == 1

    @cached_property
    def followers(self) -> Sequence[int]:
        """Positions right after earlier copies of the row's token: where an induction head looks."""
        token = self.ids[self.row]
        return [at + 1 for at in range(self.row) if self.ids[at] == token]

    def _weight_on(self, positions: Sequence[int]) -> Floats:
        """[layers, heads]: the row's weight on `positions`; NaN where columns stand for several."""
        import numpy as np

        if not self.exact:
            return np.full(self.rows.shape[:2], np.nan, np.float32)
        summed: Floats = self.rows[..., list(positions)].sum(axis=-1, dtype=np.float32)
        return summed

    def share(self, name: str, layer: int, head: int) -> float:
        """A measure between 0 and 1, for colours; NaN where it is not known."""
        value = float(self.measure(name)[layer, head])
        if name == "entropy":
            return value / math.log(max(2, self.inspection.kv))
        return value / max(1, self.row) if name == "distance" else value

    def weights(self, layer: int, head: int, *, average: bool = False) -> Floats:
        """[columns]: the row of one head, or the mean over the layer's heads."""
        import numpy as np

        weights: Floats = np.nan_to_num(self.rows[layer].mean(axis=0) if average else self.rows[layer, head])
        return weights

    def strongest(self, weights: Floats, most: int) -> list[Attended]:
        """The positions with the largest weights, in order; ties by position."""
        import numpy as np

        order = np.argsort(-weights, kind="stable")[:most]
        return [Attended(int(at) * self.pool, float(weights[at])) for at in order if weights[at] > 0]

    def holding(self, weights: Floats, share: float, most: int) -> list[Attended]:
        """As many of the strongest as hold `share` of the weight together."""
        held, keys = 0.0, []
        for key in self.strongest(weights, most):
            keys.append(key)
            held += key.weight
            if held >= share * float(weights.sum()):
                break
        return keys

    def note(self, layer: int, head: int) -> str:
        """The numbers of one head in a line."""
        if not self.has(layer):
            return "not captured"
        numbers = {name: float(values[layer, head]) for name, values in self._measures.items()}
        parts = [
            f"entropy {numbers['entropy']:.2f}",
            f"sink {numbers['sink']:.2f}",
            f"mean distance {numbers['distance']:.1f}",
        ]
        parts += [f"{name} {numbers[name]:.2f}" for name in ("previous", "induction") if self.exact]
        return "  ".join(parts)


class Labels(Sequence[str]):
    """Token texts as a sequence that reads only what is asked for: position `first + index * step`."""

    def __init__(
        self, ids: Sequence[int], text: Callable[[int], str], first: int, count: int, step: int = 1
    ) -> None:
        self._ids, self._text, self._first, self._count, self._step = ids, text, first, count, step

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(self._count))]
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._text(self._ids[self._first + index * self._step])


def _array(data: bytes, *shape: int) -> Floats:
    import numpy as np

    return np.frombuffer(data, "<f4").reshape(shape)


__all__ = ["MEASURES", "Attended", "Heads", "Labels", "Measure"]
