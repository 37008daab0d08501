"""Runs of small random models that should agree, and faults planted in one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from engine import events as ev
from engine.divergence_rebuild import Rebuilt
from engine.execution import Choice, Job, Slice
from engine.model.decoder import Decoder
from engine.model.layer import Layer, Pass, Stages
from engine.params import SamplingParams
from tests.tiny_models import chunks_of

BLOCK = 4
BLOCKS = 160
TABLE = (7, 3, 11, 2, 5, 30, 31, 9, 20, 14)


def part(request: str, ids: Sequence[int], start: int, tokens: int, table: Sequence[int]) -> Slice:
    phase: Any = "decode" if tokens == 1 and start else "prefill"
    work = ev.Work(request, phase, start, tokens)
    return Slice(work, tuple(ids[start : start + tokens]), table, len(ids))


def choice(row: int, request: str, ids: Sequence[int], stop: int) -> Choice:
    return Choice(request, row, 0, SamplingParams(), stop, ids[:stop])


def jobs_of(ids: Sequence[int], chunk: int, decodes: int, others: int = 0) -> list[Job]:
    """A prompt in chunks, then `decodes` tokens one by one, beside `others` requests that do the same."""
    prompt = len(ids) - decodes
    pieces = [*chunks_of(prompt, chunk), *[1] * decodes]
    tables = [TABLE, *(tuple(range(10 * (n + 5), 10 * (n + 5) + 10)) for n in range(others))]
    jobs, start = [], 0
    for tokens in pieces:
        slices = [part(str(n + 1), ids, start, tokens, table) for n, table in enumerate(tables)]
        stop = start + tokens
        choices = [choice(n, str(n + 1), ids, stop) for n in range(len(tables))] if stop >= prompt else []
        jobs.append(Job((), slices, choices))
        start = stop
    return jobs


def rebuilt(decoder: Decoder, jobs: Sequence[Job], position: int, request: str = "1") -> Rebuilt:
    return Rebuilt(decoder, BLOCKS, BLOCK, jobs, request, position)


# -- faults ----------------------------------------------------------------------------------------------


def with_layer(decoder: Decoder, index: int, **changes: Any) -> Decoder:
    """A copy of a decoder, one of its layers changed."""
    return with_layers(decoder, {index: dataclasses.replace(decoder.layers[index], **changes)})


def with_layers(decoder: Decoder, changed: dict[int, Layer]) -> Decoder:
    layers = tuple(changed.get(index, layer) for index, layer in enumerate(decoder.layers))
    return dataclasses.replace(decoder, layers=layers)


Plant = Callable[["Seen", Tensor], Tensor]


@dataclass
class Seen:
    """What a layer's pass has yielded so far, and what it is part of."""

    layer: Layer
    run: Pass
    x: Tensor
    stages: dict[str, Tensor]


def with_fault(decoder: Decoder, index: int, stage: str, plant: Plant) -> Decoder:
    """A copy of a decoder in one of whose layers a stage is computed by `plant`."""
    layer = decoder.layers[index]
    fields = {field.name: getattr(layer, field.name) for field in dataclasses.fields(Layer)}
    return with_layers(decoder, {index: Faulty(**fields, at=stage, plant=plant)})


@dataclass(frozen=True)
class Faulty(Layer):
    """A layer of which one stage is wrong: what is yielded and used afterwards."""

    at: str = ""
    plant: Plant = lambda _seen, tensor: tensor

    def stages(self, x: Tensor, run: Pass) -> Stages:
        seen = Seen(self, run, x, {})
        inner = Layer.stages(self, x, run)
        sent = None
        while True:
            try:
                index, stage, tensor = inner.send(sent)
            except StopIteration as end:
                return end.value
            if stage == self.at:
                tensor.copy_(self.plant(seen, tensor))
            seen.stages[stage] = tensor.clone()
            sent = yield index, stage, tensor
            if sent is not None:
                seen.stages[stage] = sent.clone()


def gelu_instead_of_silu(seen: Seen, _right: Tensor) -> Tensor:
    return seen.layer.down(F.gelu(seen.stages["gate"]) * seen.stages["up"])


def missing_residual(seen: Seen, right: Tensor) -> Tensor:
    return right - seen.stages["resid_mid"]


def explicit_attention(
    seen: Seen, scale: float = 1.0, window: int | None = None, transposed: bool = False
) -> Tensor:
    """Attention of the first span written out: with another scale, window, or map of heads to KV heads."""
    layer, run = seen.layer, seen.run
    out = torch.empty_like(seen.stages["q_rot"])
    for number, span in enumerate(run.batch.spans):
        rows = run.batch.rows(number)
        slots = torch.tensor(
            [
                span.blocks[p // run.pool.block_size] * run.pool.block_size + p % run.pool.block_size
                for p in range(span.end)
            ]
        )
        held = run.pool.gather(layer.index, slots)
        group = layer.heads // layer.kv_heads
        heads = [h % layer.kv_heads if transposed else h // group for h in range(layer.heads)]
        q, k, v = seen.stages["q_rot"][rows], held[:, 0, heads], held[:, 1, heads]
        weights = torch.einsum("qhd,khd->hqk", q, k) * layer.head_dim**-0.5 * scale
        queries, keys = torch.arange(span.start, span.end)[:, None], torch.arange(span.end)
        seen_by = keys <= queries
        if window is not None:
            seen_by = seen_by & (keys > queries - window)
        weights = weights.masked_fill(~seen_by, -torch.inf).softmax(-1)
        out[rows] = torch.einsum("hqk,khd->qhd", weights, v)
    return out
