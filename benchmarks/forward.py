"""The bare forward pass beside transformers' `generate`, on the same prompts in the same process.

    python -m benchmarks.forward FOLDER --threads 2

Runs of both are interleaved and medians compared, so that a busy machine slows both alike. Ours is the
forward pass and an argmax: no scheduler, no recording.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.kv.pool import KVPool
from engine.model.batch import Batch, Span
from engine.model.decoder import Decoder, run
from engine.model.reference import Reference, load_reference
from engine.model.weights import DTYPES, load_decoder

BLOCK_SIZE = 16

Prompts = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Ours:
    """Greedy generation with the decoder alone: every sequence has its own blocks."""

    decoder: Decoder

    @torch.inference_mode()
    def generate(self, prompts: Prompts, max_tokens: int) -> list[list[int]]:
        total = len(prompts[0]) + max_tokens
        blocks = -(-total // BLOCK_SIZE)
        pool = KVPool(self.decoder.config, blocks * len(prompts), BLOCK_SIZE, self.decoder.dtype)
        tables = [list(range(i * blocks, (i + 1) * blocks)) for i in range(len(prompts))]
        spans = [Span(str(i), 0, len(prompt), tables[i]) for i, prompt in enumerate(prompts)]
        outputs: list[list[int]] = [[] for _ in prompts]
        next_ids = self._step(pool, spans, [token for prompt in prompts for token in prompt])
        for position in range(len(prompts[0]), total):
            for output, token in zip(outputs, next_ids, strict=True):
                output.append(token)
            if position == total - 1:
                break
            spans = [Span(span.request, position, 1, span.blocks) for span in spans]
            next_ids = self._step(pool, spans, next_ids)
        return outputs

    def _step(self, pool: KVPool, spans: list[Span], ids: list[int]) -> list[int]:
        logits = run(self.decoder.stages(Batch.build(spans, ids, BLOCK_SIZE), pool))
        chosen: list[int] = logits.argmax(-1).tolist()
        return chosen


Generate = Callable[[Prompts, int], list[list[int]]]


def seconds(generate: Generate, prompts: Prompts, max_tokens: int) -> float:
    begin = time.perf_counter()
    generate(prompts, max_tokens)
    return time.perf_counter() - begin


def medians(both: Sequence[Generate], prompts: Prompts, max_tokens: int, rounds: int) -> list[float]:
    """Median seconds of each, measured in turn."""
    times: list[list[float]] = [[] for _ in both]
    for generate in both:
        generate(prompts, 2)
    for _ in range(rounds):
        for generate, taken in zip(both, times, strict=True):
            taken.append(seconds(generate, prompts, max_tokens))
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the forward pass with transformers' generate.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", choices=DTYPES, default=None)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dtype = DTYPES[options.dtype] if options.dtype else None
    decoder, reference = load_decoder(options.folder, dtype), load_reference(options.folder, dtype)
    report(Ours(decoder), reference, options.tokens, options.rounds)


def report(ours: Ours, theirs: Reference, tokens: int, rounds: int) -> None:
    vocab = ours.decoder.config.vocab_size
    both = (ours.generate, theirs.generate)
    print(f"{'':20}{'ours tok/s':>12}{'generate':>12}{'ratio':>8}")
    for batch, length in ((1, 128), (8, 128), (1, 512)):
        prompts = [random.Random(i).choices(range(vocab), k=length) for i in range(batch)]
        first = medians(both, prompts, 1, rounds)
        if length == 512:
            rates = [batch * length / taken for taken in first]
            name = f"prefill {length}"
        else:
            whole = medians(both, prompts, tokens + 1, rounds)
            rates = [batch * tokens / (all_ - one) for all_, one in zip(whole, first, strict=True)]
            name = f"decode batch {batch}"
        print(f"{name:20}{rates[0]:12.1f}{rates[1]:12.1f}{rates[0] / rates[1]:8.2f}", flush=True)


if __name__ == "__main__":
    main()
