"""Scales stages of the requests that a person has changed, as they are reached."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from engine.execution import Slice
from engine.interventions import Scale
from engine.model.batch import Batch


class Scaler:
    """Multiplies stages in place, for the rows of intervened requests from their start on."""

    def __init__(self, slices: Sequence[Slice], batch: Batch) -> None:
        self._at: dict[tuple[int, str], list[tuple[slice, Scale]]] = {}
        for index, part in enumerate(slices):
            if part.intervened is None:
                continue
            rows = batch.rows(index)
            first = rows.start + max(0, part.intervened.start - part.work.start)
            for scale in part.intervened.scales:
                self._at.setdefault((scale.layer, scale.stage), []).append((slice(first, rows.stop), scale))

    def at(self, layer: int, stage: str, tensor: Tensor) -> None:
        for rows, scale in self._at.get((layer, stage), ()):
            part = tensor[rows] if scale.head is None else tensor[rows, scale.head]
            part.mul_(scale.factor)
