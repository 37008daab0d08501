"""The whole logits behind every choice of a recorded run, worked out again step by step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from engine.execution import Job
from engine.executor import TorchExecutor
from engine.kv.pool import KVPool, MakePool
from engine.model.decoder import Decoder

Chosen = tuple[str, int, Tensor]
"""A request, the position that was chosen, and the logits `[vocab]` it was chosen from."""


def logits_again(
    decoder: Decoder, num_blocks: int, block_size: int, jobs: Iterable[Job], make_pool: MakePool = KVPool
) -> Iterator[Chosen]:
    """Runs `jobs`, a run from its beginning; the logits of each of its choices, in order."""
    pool = make_pool(decoder.config, num_blocks, block_size, decoder.dtype)
    executor = TorchExecutor(decoder, pool, seed=0)
    for job in jobs:
        forward = executor.begin(job)
        logits = torch.empty(0)
        while (point := forward.next()) is not None:
            logits = point.tensor
        for choice in job.choices:
            work = job.slices[choice.row].work
            yield choice.request, work.stop, logits[forward.rows(work.request, "logits").start]
