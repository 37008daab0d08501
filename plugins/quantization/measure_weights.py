"""How far weights in fewer bits are from what they stand for, and where they lie on their grid."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.divergence_measures import apart
from engine.model.config import ModelConfig
from engine.model.projection import MakeProjection, Place, Projection
from engine.model.weights import plain
from engine.quantization_result import Histogram, TensorError
from plugins.quantization.forms import Form, projection_of
from plugins.quantization.grid import LEVELS as GRID_LEVELS
from plugins.quantization.grid import Codes, ScaledCodes
from plugins.quantization.int8 import TOP as INT8_TOP
from plugins.quantization.int8 import Codes8
from plugins.quantization.making import Forms
from plugins.quantization.nf4 import NormalCodes

BINS = 64


@dataclass(slots=True)
class Sums:
    """Of a tensor, or several: what relative error and cosine are made of."""

    error: float = 0.0
    size: float = 0.0
    other: float = 0.0
    dot: float = 0.0

    def add(self, a: Tensor, b: Tensor) -> None:
        a, b = a.double().flatten(), b.double().flatten()
        self.error += float((b - a).square().sum())
        self.size += float(a.square().sum())
        self.other += float(b.square().sum())
        self.dot += float(a @ b)

    @property
    def relative(self) -> float:
        return float((self.error / self.size) ** 0.5) if self.size else 0.0

    @property
    def cosine(self) -> float:
        both = (self.size * self.other) ** 0.5
        return self.dot / both if both else 1.0


@dataclass(slots=True)
class PlaceError:
    """One projection: its parts' errors, all of it in `sums`, and its bytes before and after."""

    tensors: list[TensorError]
    histograms: list[Histogram]
    sums: Sums
    weights: int
    before: int
    after: int


@dataclass(slots=True)
class Weighing:
    """Makes the projections of a model, and keeps how far each is from the weight it was made of."""

    config: ModelConfig
    form_of: Forms
    found: dict[Place, PlaceError] = field(default_factory=dict)

    def maker(self) -> MakeProjection:
        def make(place: Place, weight: Tensor, bias: Tensor | None) -> Projection:
            form = self.form_of(place, weight)
            if form is None:
                return plain(place, weight, bias)
            projection = projection_of(form, bias, weight.dtype)
            self.found[place] = self._weigh(place, weight, form, projection)
            return projection

        return make

    def _weigh(self, place: Place, weight: Tensor, form: Form, projection: Projection) -> PlaceError:
        dense = form.dense()
        units, levels = on_grid(form, weight)
        found = PlaceError([], [], Sums(), weight.numel(), weight.nbytes, _bytes_of(projection))
        start = 0
        for name, rows in parts_of(place, self.config, len(weight)):
            part = slice(start, start + rows)
            found.tensors.append(tensor_error(name, weight[part], dense[part]))
            found.histograms.append(histogram(name, units[part], levels))
            start += rows
        found.sums.add(weight, dense)
        return found


def _bytes_of(projection: Projection) -> int:
    """Bytes of the weight and its scales."""
    return projection.nbytes - (0 if projection.bias is None else projection.bias.nbytes)


def parts_of(place: Place, config: ModelConfig, rows: int) -> list[tuple[str, int]]:
    """The tensors that a projection is made of, and how many of its rows each has."""
    if place.name == "qkv":
        own = config.kv_heads * config.head_dim
        return [("q", config.heads * config.head_dim), ("k", own), ("v", own)]
    if place.name == "gate_up":
        return [("gate", rows // 2), ("up", rows // 2)]
    return [(place.name, rows)]


def tensor_error(name: str, weight: Tensor, dense: Tensor) -> TensorError:
    """`dense [out, in]` against `weight`. An output of zeros is no channel that could be far off, relatively."""
    weight, dense = weight.float(), dense.float()
    whole = apart(weight, dense)
    size = weight.norm(dim=1)
    channels = torch.where(size > 0, (dense - weight).norm(dim=1) / size, 0.0)
    channel = int(channels.argmax())
    return TensorError(name, whole.rel, whole.cosine, channel, float(channels[channel]))


def on_grid(form: Form, weight: Tensor) -> tuple[Tensor, Tensor]:
    """`weight [out, in]` in units of each group's grid, inputs in the order of its groups; and the levels."""
    weight = weight.float()
    match form:
        case Codes(scale=scale, zero=zero, order=order):
            groups = (weight if order is None else weight[:, order]).view(len(weight), scale.shape[1], -1)
            units = groups / scale.float()[..., None] + zero.float()[..., None]
            return units.flatten(1), torch.arange(GRID_LEVELS).float()
        case ScaledCodes(codes, factor):
            return on_grid(codes, weight * factor)
        case Codes8(scale=scale):
            return weight / scale.float()[:, None], torch.arange(-INT8_TOP, INT8_TOP + 1).float()
        case NormalCodes(blocks=blocks, levels=levels):
            reach = form.reaches(slice(0, len(weight))).clamp(min=torch.finfo(torch.float32).tiny)
            return (weight.view(len(weight), blocks, -1) / reach[..., None]).flatten(1), levels


def histogram(name: str, units: Tensor, levels: Tensor) -> Histogram:
    """Bins reach half a step beyond the first and the last level, to where rounding does not clip."""
    first = float(levels[0] - (levels[1] - levels[0]) / 2)
    last = float(levels[-1] + (levels[-1] - levels[-2]) / 2)
    counts = torch.histc(units, BINS, first, last)
    inside = int(((units >= first) & (units <= last)).sum())
    return Histogram(
        name, first, last, tuple(int(count) for count in counts), tuple(levels.tolist()), units.numel() - inside
    )
