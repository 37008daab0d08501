"""Quantizing projection after projection, each on the inputs that those before it, quantized already, produce."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.kv.pool import KVPool
from engine.model.batch import Batch, Span
from engine.model.config import ModelConfig
from engine.model.decoder import Decoder
from engine.model.layer import Layer, Pass
from engine.model.projection import Place, Projection, ProjectionName
from engine.model.stage_names import OUTSIDE
from plugins.quantization.around import Listening
from plugins.quantization.forms import Form, projection_of
from plugins.quantization.options import Where
from plugins.quantization.statistics import Statistics

IN_ORDER: tuple[ProjectionName, ...] = ("qkv", "o", "gate_up", "down")
BATCH_TOKENS = 2048

Quantize = Callable[[Place, Tensor, Statistics], Form]
"""From a place, its weight `[out, in]` and its inputs' statistics to the weight in fewer bits."""

Told = Callable[[int, int], None]
"""Told how many projections of how many are done."""


@dataclass(slots=True)
class _Part:
    """Some calibration sequences on their way through the layers: `x [tokens, hidden]`."""

    x: Tensor
    run: Pass


@torch.inference_mode()
def quantize_in_order(
    decoder: Decoder, sequences: Sequence[Sequence[int]], where: Where, quantize: Quantize, told: Told
) -> dict[Place, Form]:
    """The projections that `where` covers, quantized one after the other. The decoder stays as it is."""
    places = [place for place in all_places(decoder.config.layers) if where.covers(*place)]
    made: dict[Place, Form] = {}

    def take(place: Place, projection: Projection, statistics: Statistics) -> Projection:
        made[place] = quantize(place, projection.dense(), statistics)
        told(len(made), len(places))
        return projection_of(made[place], projection.bias, decoder.dtype)

    parts = list(_start(decoder, sequences))
    for layer in decoder.layers:
        for name in IN_ORDER:
            place = Place(layer.index, name)
            if place in places:
                projection = getattr(layer, name)
                layer = _with(layer, name, take(place, projection, _heard(layer, name, parts)))
        for part in parts:
            part.x = _through(layer, part)
    head = Place(OUTSIDE, "lm_head")
    if head in places:
        take(head, decoder.lm_head, _before_head(decoder, parts))
    return made


def all_places(layers: int) -> Iterator[Place]:
    """Every projection of a model with this many layers, in the order in which they are computed."""
    for layer in range(layers):
        for name in IN_ORDER:
            yield Place(layer, name)
    yield Place(OUTSIDE, "lm_head")


def _start(decoder: Decoder, sequences: Sequence[Sequence[int]]) -> Iterator[_Part]:
    length = max(map(len, sequences))
    together = max(1, BATCH_TOKENS // length)
    for first in range(0, len(sequences), together):
        some = sequences[first : first + together]
        spans = [Span(str(i), 0, len(ids), [i]) for i, ids in enumerate(some)]
        batch = Batch.build(spans, [token for ids in some for token in ids], length)
        cos, sin = decoder.rope.tables(
            batch.positions, batch.lengths if decoder.rope.config.type == "dynamic" else None, decoder.dtype
        )
        pool = _pool_of_one_layer(decoder.config, len(some), length, decoder.dtype)
        yield _Part(F.embedding(batch.token_ids, decoder.embed), Pass(batch, pool, cos, sin, frozenset()))


def _pool_of_one_layer(config: ModelConfig, blocks: int, size: int, dtype: torch.dtype) -> KVPool:
    """A pool whose layers lie in one place: only one of them is looked at at a time."""
    pool = KVPool(replace(config, layers=1, windows=config.windows[:1]), blocks, size, dtype)
    pool.layers *= config.layers
    return pool


def _with(layer: Layer, name: ProjectionName, projection: Projection) -> Layer:
    change: dict[str, Any] = {name: projection}
    return replace(layer, **change)


def _heard(layer: Layer, name: ProjectionName, parts: Sequence[_Part]) -> Statistics:
    statistics: Statistics | None = None
    for part in parts:
        x = _input(layer, name, part)
        statistics = statistics or Statistics(x.shape[1])
        statistics.add(x)
    assert statistics is not None
    return statistics


def _input(layer: Layer, name: ProjectionName, part: _Part) -> Tensor:
    """What a projection of the layer is given, `[tokens, in]`; the pass is left as soon as it has been."""
    listening = Listening(getattr(layer, name))
    stages = _with(layer, name, listening).stages(part.x, part.run)
    while listening.heard is None:
        next(stages)
    stages.close()
    return listening.heard


def _through(layer: Layer, part: _Part) -> Tensor:
    stages = layer.stages(part.x, part.run)
    while True:
        try:
            next(stages)
        except StopIteration as end:
            result: Tensor = end.value
            return result


def _before_head(decoder: Decoder, parts: Sequence[_Part]) -> Statistics:
    statistics = Statistics(decoder.config.hidden_size)
    for part in parts:
        statistics.add(decoder.final_norm(part.x))
    return statistics
