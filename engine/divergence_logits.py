"""The whole logits behind every choice of a recorded run, worked out again step by step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import takewhile

import torch
from torch import Tensor

from engine.execution import Choice, Job
from engine.executor import TorchExecutor
from engine.kv.pool import KVPool, MakePool
from engine.model.decoder import Decoder

Chosen = tuple[str, int, Tensor]
"""A request, the position that was chosen, and the logits `[vocab]` it was chosen from."""


def logits_again(
    decoder: Decoder, num_blocks: int, block_size: int, jobs: Iterable[Job], make_pool: MakePool = KVPool
) -> Iterator[Chosen]:
    """Runs `jobs`, a run from its beginning; the logits of each of its choices, in order.

    Choices know all tokens of the run: rows of drafts that did not become tokens are left out.
    """
    pool = make_pool(decoder.config, num_blocks, block_size, decoder.dtype)
    executor = TorchExecutor(decoder, pool, seed=0)
    for job in jobs:
        forward = executor.begin(job)
        logits = torch.empty(0)
        while (point := forward.next()) is not None:
            logits = point.tensor
        for choice in job.choices:
            work = job.slices[choice.row].work
            first = forward.rows(work.request, "logits").start
            at = work.stop - len(choice.draft.main if choice.draft else ())
            for accepted in range(1 + _accepted(choice, at)):
                yield choice.request, at + accepted, logits[first + accepted]


def _accepted(choice: Choice, at: int) -> int:
    """How many drafts of a choice for position `at` became tokens, with one more after them."""
    drafts = [choice.draft.tokens[node] for node in choice.draft.main] if choice.draft else ()
    tokens = choice.tokens[at : at + len(drafts) + 1]
    same = takewhile(lambda pair: pair[0] == pair[1], zip(drafts, tokens[:-1], strict=False))
    return sum(1 for _ in same)
