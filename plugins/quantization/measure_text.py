"""Predictions of models with fewer bits beside those of the model as it is, a batch of windows at a time."""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.kv.pool import KVPool
from engine.model.batch import Batch, Span
from engine.model.config import ModelConfig
from engine.model.decoder import Decoder, run
from engine.model.layer import Stages
from engine.quantization_result import Outlier
from plugins.quantization.measure_weights import Sums
from plugins.quantization.measure_windows import Window
from plugins.quantization.sequential import Told

MOST_TOKENS = 2048
MOST_LOGITS = 1 << 25
MOST_FLIPS = 100
MOST_OUTLIERS = 50
FAR_OUT = 6.0
"""How many times the median of its stage's channels an outlier reaches."""
HEARD = ("attn_norm", "attn_out", "mlp_norm")
"""Stages that are inputs of projections."""


@dataclass(order=True, slots=True)
class Flipped:
    """A changed choice; the margin first, so that a heap keeps the largest."""

    margin: float
    position: int
    full: int
    quantized: int


@dataclass(slots=True)
class Predicted:
    """How one model predicts the text, next to the model as it is. `kl` is in order of positions."""

    nll: float = 0.0
    kl: array[float] = field(default_factory=lambda: array("d"))
    flipped: int = 0
    flips: list[Flipped] = field(default_factory=list)

    def add(self, full: Tensor, other: Tensor, targets: Tensor, first: Sequence[int]) -> None:
        """Logits `[rows, vocab]` of both models; `first` has the text position of each row."""
        p, q = full.log_softmax(-1), other.log_softmax(-1)
        self.nll -= float(q.gather(-1, targets[:, None]).double().sum())
        self.kl.extend((p.exp() * (p - q)).sum(-1, dtype=torch.float64).clamp_(min=0).tolist())
        best, chosen = full.topk(2, -1), other.argmax(-1)
        for row in (best.indices[:, 0] != chosen).nonzero()[:, 0].tolist():
            self.flipped += 1
            margin = float(best.values[row, 0] - best.values[row, 1])
            flip = Flipped(margin, first[row], int(best.indices[row, 0]), int(chosen[row]))
            (heapq.heappush if len(self.flips) < MOST_FLIPS else heapq.heappushpop)(self.flips, flip)

    @property
    def kl_mean(self) -> float:
        return math.fsum(self.kl) / len(self.kl)

    @property
    def perplexity(self) -> float:
        return math.exp(self.nll / len(self.kl))


@dataclass(slots=True)
class Comparing:
    """`models` beside `full` on a text. The streams of the first of them are compared too."""

    full: Decoder
    models: Sequence[Decoder]
    nll: float = 0.0
    positions: int = 0
    predicted: list[Predicted] = field(default_factory=list)
    streams: list[Sums] = field(default_factory=list)
    largest: dict[tuple[int, str], Tensor] = field(default_factory=dict)

    @torch.inference_mode()
    def run(self, windows: Sequence[Window], told: Told) -> None:
        self.predicted = [Predicted() for _ in self.models]
        self.streams = [Sums() for _ in self.full.layers]
        done = 0
        for some in _batches(windows, self.full.config):
            self._add(some)
            done += len(some)
            told(done, len(windows))

    def _add(self, some: Sequence[Window]) -> None:
        full, first = self._side_by_side(some)
        targets = torch.tensor([token for window in some for token in window.ids[-window.scored :]])
        positions = [at for window in some for at in range(window.first, window.first + window.scored)]
        self.positions += len(targets)
        self.nll -= float(full.log_softmax(-1).gather(-1, targets[:, None]).double().sum())
        for index, predicted in enumerate(self.predicted):
            logits = first if index == 0 else _predicting(some, run(_stages(self.models[index], some)))
            predicted.add(full, logits, targets, positions)

    def _side_by_side(self, some: Sequence[Window]) -> tuple[Tensor, Tensor]:
        """Logits of the full model and the first other one, their stages compared on the way."""
        for (layer, stage, a), (_, _, b) in zip(
            _stages(self.full, some), _stages(self.models[0], some), strict=True
        ):
            if stage == "resid_post":
                self.streams[layer].add(a, b)
            elif stage in HEARD:
                self._hear(layer, stage, a)
        return _predicting(some, a), _predicting(some, b)

    def _hear(self, layer: int, stage: str, value: Tensor) -> None:
        largest = value.flatten(1).abs().amax(0).float()
        before = self.largest.get((layer, stage))
        self.largest[layer, stage] = largest if before is None else torch.maximum(before, largest)

    @property
    def perplexity(self) -> float:
        return math.exp(self.nll / self.positions)

    def outliers(self) -> tuple[Outlier, ...]:
        found = [outlier for place, largest in self.largest.items() for outlier in _outliers(place, largest)]
        return tuple(sorted(found, key=lambda outlier: -outlier.times_median)[:MOST_OUTLIERS])


def _outliers(place: tuple[int, str], largest: Tensor) -> Iterator[Outlier]:
    median = float(largest.median())
    if median == 0:
        return
    for channel in (largest >= FAR_OUT * median).nonzero()[:, 0].tolist():
        value = float(largest[channel])
        yield Outlier(*place, channel, value, value / median)


def _batches(windows: Sequence[Window], config: ModelConfig) -> Iterator[Sequence[Window]]:
    longest = max(len(window.ids) for window in windows)
    together = max(1, min(MOST_TOKENS // longest, MOST_LOGITS // (longest * config.vocab_size)))
    for first in range(0, len(windows), together):
        yield windows[first : first + together]


def _stages(decoder: Decoder, some: Sequence[Window]) -> Stages:
    """A forward pass with the logits of rows that predict something, and one after them, of each window."""
    size = max(len(window.ids) for window in some)
    spans = [
        Span(str(index), 0, len(window.ids), [index], window.scored + 1) for index, window in enumerate(some)
    ]
    batch = Batch.build(spans, [token for window in some for token in window.ids], size)
    return decoder.stages(batch, KVPool(decoder.config, len(some), size, decoder.dtype))


def _predicting(some: Sequence[Window], logits: Tensor) -> Tensor:
    """The rows that predict: all but the last of each window."""
    parts = logits.split_with_sizes([window.scored + 1 for window in some])
    return torch.cat([part[:-1] for part in parts])
