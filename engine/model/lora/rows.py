"""Which rows of a batch run with which adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from engine.model.batch import Batch
from engine.model.lora.adapter import Adapters
from engine.model.projection import Place

Rows = slice | Tensor


@dataclass(frozen=True, slots=True)
class RowAdapters:
    """The adapters of one batch: each adds to its own rows only, the others are not touched."""

    adapters: Adapters
    rows: Mapping[str, Rows]

    def add_(self, place: Place, x: Tensor, y: Tensor) -> None:
        """Add to `y [tokens, out]` what the rows' adapters make of `x [tokens, in]` at `place`."""
        for name, rows in self.rows.items():
            part = y[rows]
            self.adapters.add_(name, place, x[rows], part)
            if isinstance(rows, Tensor):
                y[rows] = part


def rows_of(adapters: Adapters, batch: Batch) -> RowAdapters | None:
    """The adapters of `batch`; None where no row has one, so that such a pass is as if there were none."""
    names = dict.fromkeys(span.adapter for span in batch.spans if span.adapter)
    return RowAdapters(adapters, {name: _rows(batch, name) for name in names}) if names else None


def _rows(batch: Batch, name: str) -> Rows:
    """The rows of the spans that run with adapter `name`: as a slice where they lie together."""
    slices = [batch.rows(index) for index, span in enumerate(batch.spans) if span.adapter == name]
    if all(before.stop == after.start for before, after in pairwise(slices)):
        return slice(slices[0].start, slices[-1].stop)
    return torch.cat([torch.arange(rows.start, rows.stop) for rows in slices])
