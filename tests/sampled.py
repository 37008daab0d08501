"""Scripted runs whose tokens are drawn: made-up logits for every row, and inspections that give them again."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine import protocol as pr
from engine.engine import Engine
from engine.execution import Job, Limits, Outcome
from engine.params import RequestSpec, SamplingParams
from engine.sampler_rows import SamplerRows
from engine.sampling import choose
from sessions.header import Header
from sessions.writer import Writer
from tests.recorded import SHAPE, Logits, header, writer_on
from tests.scripted import VOCAB, ScriptedExecutor

Floats = npt.NDArray[np.float32]

SETTINGS: Sequence[SamplingParams] = (
    SamplingParams(max_tokens=12),
    SamplingParams(max_tokens=12, temperature=0.8, top_k=12, top_p=0.9, min_p=0.05, seed=5),
    SamplingParams(
        max_tokens=12, temperature=1.2, repetition_penalty=1.3, frequency_penalty=0.4, top_k=9, seed=6
    ),
    SamplingParams(max_tokens=12, temperature=0.0, presence_penalty=0.7, logit_bias={3: 2.0}),
)
"""Greedy, every filter, penalties with a filter, and greedy with a bias: requests 1 to 4."""


def logits_after(tokens: Sequence[int]) -> Floats:
    """The logits [vocab] of the row that ends in `tokens`."""
    rng = np.random.default_rng(zlib.crc32(array("i", tokens).tobytes()))
    return rng.normal(0, 3, VOCAB).astype(np.float32)


class SamplingExecutor(ScriptedExecutor):
    """Chooses with the real sampler from made-up logits."""

    def execute(self, job: Job) -> Outcome:
        super().execute(job)
        if not job.choices:
            return Outcome((), (), Logits(np.empty((0, VOCAB), np.float32)), 900_000, 80_000)
        scores = np.stack([logits_after(choice.tokens) for choice in job.choices])
        rows = [
            SamplerRows(0, VOCAB).row(each.request, each.params, each.sample, each.prompt_tokens, each.tokens)
            for each in job.choices
        ]
        choices = choose(scores, rows)
        return Outcome(choices.tokens, choices.draws, Logits(scores), 900_000, 80_000)


def record_sampled(path: Path, prompt: Sequence[int] = range(10)) -> Engine:
    """A closed session with a request for each of SETTINGS on one prompt."""
    engine, writer = begin_sampled(path, prompt)
    engine.run()
    writer.close()
    return engine


def begin_sampled(path: Path, prompt: Sequence[int] = range(10)) -> tuple[Engine, Writer]:
    """The same before its first step."""
    about: Header = header(64, block_size=4, token_budget=64)
    writer = writer_on(path, about)
    executor = SamplingExecutor(about.num_blocks, about.options.block_size)
    engine = Engine(executor, Limits(10_000, VOCAB), about.num_blocks, about.options, writer)
    for params in SETTINGS:
        engine.submit(RequestSpec(tuple(prompt), params))
    return engine, writer


def inspection(command: pr.Inspect, tokens: Sequence[int], pool: int = 1) -> pr.Inspection:
    """An answer as the engine gives it: the row's own logits, and causal patterns that sum to one."""
    kv, rows, grid = command.position + 1, command.rows, command.grid
    rng = np.random.default_rng(kv)
    row = rng.dirichlet(np.full(kv, 0.3), (SHAPE.layers, SHAPE.heads)).astype(np.float32)
    focus = np.tril(rng.random((rows, kv)), kv - rows).astype(np.float32)
    focus /= focus.sum(axis=1, keepdims=True)
    focus[-1] = row[command.layer, command.head]
    back = np.arange(kv - 1, -1, -1)
    entropy = -(row * np.log(np.maximum(row, 1e-30))).sum(-1)
    return pr.Inspection(
        id=command.id, request=command.request, position=command.position, layer=command.layer,
        head=command.head, rows=rows, layers=SHAPE.layers, heads=SHAPE.heads, kv=kv, pool=pool, grid_size=grid,
        logits=logits_after(tokens[:kv]).tobytes(), row=_pooled(row, pool), focus=_pooled(focus, pool),
        grid=rng.random((SHAPE.layers, SHAPE.heads, grid, grid), np.float32).tobytes(),
        head_entropy=entropy.astype("<f4").tobytes(), head_sink=row[..., 0].tobytes(),
        head_distance=(row * back).sum(-1).astype("<f4").tobytes(), check=3e-7, reused=kv - rows, prefilled=0,
    )  # fmt: skip


def _pooled(values: Floats, pool: int) -> bytes:
    missing = -values.shape[-1] % pool
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])
    return padded.reshape(*values.shape[:-1], -1, pool).max(axis=-1).astype("<f4").tobytes()
