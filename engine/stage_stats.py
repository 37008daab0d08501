"""A stage's tensor made small enough to show: its numbers, and its values pooled by magnitude."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.stage_report import MOST_ROWS, MOST_VALUES, Stats, Values, Window

_NAN = float("nan")


def stats_of(tensor: Tensor) -> Stats:
    """The numbers of a tensor of at least one value, summed in float64."""
    values = tensor.detach().double().flatten()
    finite = values[values.isfinite()]
    nans = int(values.isnan().sum())
    infs = len(values) - len(finite) - nans
    if not len(finite):
        return Stats(_NAN, _NAN, _NAN, _NAN, _NAN, _NAN, (), nans, infs)
    norm = float(torch.linalg.vector_norm(finite))
    index = int(values.abs().nan_to_num(-1.0, -1.0).argmax())
    at = torch.unravel_index(torch.tensor(index), tensor.shape)
    return Stats(
        mean=float(finite.mean()), rms=norm / len(finite) ** 0.5, low=float(finite.min()),
        high=float(finite.max()), norm=norm, largest=float(values[index]), at=tuple(int(each) for each in at),
        nans=nans, infs=infs,
    )  # fmt: skip


def values_of(tensor: Tensor, window: Window = Window()) -> Values:  # noqa: B008
    """The values of `tensor [rows, ...]` in `window`, in at most 65,536 tiles. ValueError outside of it."""
    flat = tensor.detach().reshape(len(tensor), -1)
    rows = _part("row", window.first_row, window.rows, flat.shape[0])
    columns = _part("column", window.first_column, window.columns, flat.shape[1])
    part = flat[rows, columns].float()
    down = -(-part.shape[0] // MOST_ROWS)
    steps = down, -(-part.shape[1] // (MOST_VALUES // -(-part.shape[0] // down)))
    pooled = part if steps == (1, 1) else pool_by_magnitude(part, *steps)
    return Values(
        rows.start, part.shape[0], steps[0], columns.start, part.shape[1], steps[1],
        pooled.contiguous().numpy().tobytes(),
    )  # fmt: skip


def pool_by_magnitude(values: Tensor, rows: int, columns: int) -> Tensor:
    """Of every `rows` x `columns` tile of a matrix the value of the largest magnitude, signed; NaN wins."""
    padded = F.pad(values, (0, -values.shape[1] % columns, 0, -values.shape[0] % rows))
    down, across = padded.shape[0] // rows, padded.shape[1] // columns
    tiles = padded.view(down, rows, across, columns).transpose(1, 2).flatten(2)
    largest = tiles.abs().nan_to_num(torch.inf, torch.inf).argmax(-1, keepdim=True)
    pooled: Tensor = tiles.gather(-1, largest)[..., 0].masked_fill(tiles.isnan().any(-1), _NAN)
    return pooled


def _part(name: str, first: int, count: int, size: int) -> slice:
    stop = first + count if count else size
    if not 0 <= first < stop <= size:
        raise ValueError(f"{name}s {first} to {stop - 1} are not all there: the stage has {size} {name}s")
    return slice(first, stop)
