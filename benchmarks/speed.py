"""The whole engine beside transformers' `generate`: decode at batch 1 and 8, and prefill.

Each has a process of its own, new for each case, so that what one case leaves behind in an allocator does not
decide the next. They run the same prompts in turn, and medians are compared, so that a busy machine slows both
alike. Ours schedules, pages and samples as always, but does not record.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.generating import Generating, Prompts
from engine.model.config import ModelConfig, read_config
from engine.model.weights import DTYPES

CASES = ((1, 128), (8, 128), (1, 512))  # batch, prompt tokens


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison, in tokens per second; `share` is that of the memory-bandwidth limit."""

    name: str
    ours: float
    theirs: float
    share: float | None = None

    def __str__(self) -> str:
        limit = "" if self.share is None else f"   {self.share:5.2f} of the bandwidth limit"
        return f"{self.name:34}{self.ours:10.1f}{self.theirs:12.1f}{self.ours / self.theirs:8.2f}x{limit}"


HEADER = f"{'tokens/s':34}{'workbench':>10}{'generate':>12}{'ratio':>9}"


def compare(folder: Path, name: str, dtype: str, tokens: int, rounds: int) -> Iterator[Line]:
    """Every case on the model in `folder`."""
    config = read_config(folder)
    limit = bandwidth() / (_weights_read(config) * DTYPES[dtype].itemsize)
    for batch, length in CASES:
        prompts = [random.Random(seed).choices(range(config.vocab_size), k=length) for seed in range(batch)]
        with (
            closing(Generating("workbench", folder, dtype)) as ours,
            closing(Generating("generate", folder, dtype)) as theirs,
        ):
            both = (ours, theirs)
            first = _medians(both, prompts, 1, rounds)
            if length == 512:
                yield Line(f"{name}  prefill {length}", *(batch * length / taken for taken in first))
                continue
            whole = _medians(both, prompts, tokens + 1, rounds)
        rates = [batch * tokens / (all_ - one) for all_, one in zip(whole, first, strict=True)]
        yield Line(f"{name}  decode batch {batch}", *rates, rates[0] / limit if batch == 1 else None)


def _medians(both: Sequence[Generating], prompts: Prompts, max_tokens: int, rounds: int) -> list[float]:
    """Median seconds of each, measured in turn."""
    times: list[list[float]] = [[] for _ in both]
    for each in both:
        each.seconds(prompts, 2)
    for _ in range(rounds):
        for each, taken in zip(both, times, strict=True):
            taken.append(each.seconds(prompts, max_tokens))
    return [statistics.median(taken) for taken in times]


def bandwidth(floats: int = 1 << 28, rounds: int = 9) -> float:
    """Bytes a second that the machine reads from memory, as torch's sum of 1 GiB sees it."""
    data = torch.ones(floats)
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        data.sum()
        times.append(time.perf_counter() - begin)
    return data.nbytes / statistics.median(times)


def _weights_read(config: ModelConfig) -> int:
    """The weights that one decode step must read: everything but the rows of the embedding it skips."""
    matrices = config.layers * (
        config.hidden_size * (config.heads + 2 * config.kv_heads) * config.head_dim
        + config.heads * config.head_dim * config.hidden_size
        + 3 * config.hidden_size * config.intermediate_size
    )
    return matrices + config.vocab_size * config.hidden_size
