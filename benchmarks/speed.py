"""The whole engine beside transformers' `generate`: decode at batch 1 and 8, and prefill.

Both run the same prompts in the same process, in turn, and medians are compared, so that a busy machine
slows both alike. Ours schedules, pages and samples as always, but does not record.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.forward import Generate, Prompts, bandwidth, medians
from engine.engine import Engine
from engine.executor import TorchExecutor
from engine.kv.pool import KVPool
from engine.load import limits_of
from engine.model.decoder import Decoder
from engine.model.reference import load_reference
from engine.model.weights import load_decoder
from engine.params import EngineOptions, RequestSpec, SamplingParams

CASES = ((1, 128), (8, 128), (1, 512))  # batch, prompt tokens
BLOCK_SIZE = 16


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


def new_engine(decoder: Decoder, prompts: Prompts, max_tokens: int) -> Engine:
    """An engine with just room for `prompts` and their outputs, on weights that are loaded already."""
    longest = max(map(len, prompts)) + max_tokens
    blocks = len(prompts) * (longest // BLOCK_SIZE + 1)
    options = EngineOptions(block_size=BLOCK_SIZE, token_budget=1024, kv_blocks=blocks)
    pool = KVPool(decoder.config, blocks, BLOCK_SIZE, decoder.dtype)
    executor = TorchExecutor(decoder, pool, options.seed)
    return Engine(executor, limits_of(decoder.config), blocks, options)


def engine_generate(decoder: Decoder) -> Generate:
    """Greedy generation by a new engine each time, so that nothing is cached from before."""

    def generate(prompts: Prompts, max_tokens: int) -> list[list[int]]:
        engine = new_engine(decoder, prompts, max_tokens)
        params = SamplingParams(max_tokens=max_tokens, ignore_eos=True)
        ids = [engine.submit(RequestSpec(tuple(prompt), params))[0] for prompt in prompts]
        engine.run()
        return [list(engine.tokens.tokens_of(id_))[-max_tokens:] for id_ in ids]

    return generate


def compare(folder: Path, name: str, dtype: torch.dtype, tokens: int, rounds: int) -> list[Line]:
    """Every case on the model in `folder`."""
    decoder = load_decoder(folder, dtype)
    both = (engine_generate(decoder), load_reference(folder, dtype).generate)
    limit = bandwidth() / _bytes_read(decoder)
    return [_case(name, both, decoder, batch, length, tokens, rounds, limit) for batch, length in CASES]


def _case(
    name: str,
    both: Sequence[Generate],
    decoder: Decoder,
    batch: int,
    length: int,
    tokens: int,
    rounds: int,
    limit: float,
) -> Line:
    vocab = decoder.config.vocab_size
    prompts = [random.Random(seed).choices(range(vocab), k=length) for seed in range(batch)]
    first = medians(both, prompts, 1, rounds)
    if length == 512:
        ours, theirs = (batch * length / taken for taken in first)
        return Line(f"{name}  prefill {length}", ours, theirs)
    whole = medians(both, prompts, tokens + 1, rounds)
    ours, theirs = (batch * tokens / (all_ - one) for all_, one in zip(whole, first, strict=True))
    return Line(f"{name}  decode batch {batch}", ours, theirs, ours / limit if batch == 1 else None)


def _bytes_read(decoder: Decoder) -> int:
    """Bytes of weights that one decode step must read: everything but the rows of the embedding it skips."""
    config = decoder.config
    matrices = config.layers * (
        config.hidden_size * (config.heads + 2 * config.kv_heads) * config.head_dim
        + config.heads * config.head_dim * config.hidden_size
        + 3 * config.hidden_size * config.intermediate_size
    )
    return (matrices + config.vocab_size * config.hidden_size) * decoder.embed.element_size()
