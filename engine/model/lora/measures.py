"""How much an adapter changes: each projection's weight, and the logits after a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.kv.pool import KVPool
from engine.model.batch import Batch, Span
from engine.model.decoder import Decoder, run
from engine.model.lora.adapter import FUSED, Adapter, Adapters
from engine.model.lora.files import projection_shapes
from engine.model.lora.loading import with_adapters
from engine.model.projection import Place


@dataclass(frozen=True, slots=True)
class Measured:
    """One projection: Frobenius norms of what is added, scale · B A, and of the weight that it is added to."""

    layer: int
    part: str
    rank: int
    change: float
    weight: float

    @property
    def ratio(self) -> float:
        return self.change / self.weight if self.weight else float("inf")


def measure(decoder: Decoder, adapter: Adapter) -> Iterator[Measured]:
    """Every projection that `adapter` changes, layer after layer, in the order of their rows."""
    for layer in decoder.layers:
        for name, parts in FUSED.items():
            change = adapter.changes.get(Place(layer.index, name))
            if change is None:
                continue
            whole = getattr(layer, name).dense().float()
            ends = {slice_.stop: part for part, slice_ in _rows_of(decoder, parts)}
            for part in change.parts:
                added = change.down[:, part.ranks] @ part.up
                yield Measured(
                    layer.index, ends[part.out.stop], part.up.shape[0], float(torch.linalg.matrix_norm(added)),
                    float(torch.linalg.matrix_norm(whole[part.out])),
                )  # fmt: skip


def _rows_of(decoder: Decoder, parts: Sequence[str]) -> Iterator[tuple[str, slice]]:
    """Which rows of a fused projection are each part's."""
    shapes, start = projection_shapes(decoder.config), 0
    for part in parts:
        stop = start + shapes[part][0]
        yield part, slice(start, stop)
        start = stop


@torch.inference_mode()
def logits_beside(decoder: Decoder, adapter: Adapter, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The logits [vocab] after `ids` without the adapter and with it, both from one batch."""
    both = with_adapters(decoder, Adapters({"adapter": adapter}, decoder.adapters.multiply))
    size = len(ids)
    spans = [Span("without", 0, size, [0]), Span("with", 0, size, [1], adapter="adapter")]
    batch = Batch.build(spans, [*ids, *ids], size)
    logits = run(both.stages(batch, KVPool(decoder.config, 2, size, decoder.dtype)))
    return logits[0], logits[1]
