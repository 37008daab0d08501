"""Decoding with weights in fewer bits, beside float32 and packed bfloat16; and the memory each takes.

    python -m benchmarks.quant FOLDER --methods int8,int4=group:32 --threads 2

Every method is run in turn with bfloat16, and medians compared, so that a busy machine slows both alike. A
process of its own loads each model to see what stays resident. GPTQ and AWQ run on the same kernels as int4.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from benchmarks.forward import Generate, Ours, Prompts, medians
from engine.model.decoder import Decoder
from engine.model.weights import DTYPES, load_decoder
from plugins.quantization.methods import parse_method

METHODS = ("int8", "w8a8", "int4", "nf4")
PLAIN = ("float32", "bfloat16")
PROMPT = 32
PREFILL = 256
COLUMNS = ("batch 1", "batch 8", f"prefill {PREFILL}")
OF_BFLOAT16 = "of bf16"
HEADER = (
    f"{'tokens/s':24}{''.join(f'{name:>12}{OF_BFLOAT16:>8}' for name in COLUMNS)}{'weights':>11}{'resident':>11}"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One way to run a model: tokens a second of each of `COLUMNS`, each over bfloat16's beside it; bytes."""

    name: str
    rates: Sequence[float]
    ratios: Sequence[float]
    weight_bytes: int
    resident_bytes: int

    def __str__(self) -> str:
        speeds = "".join(
            f"{rate:12.1f}{ratio:7.2f}x" for rate, ratio in zip(self.rates, self.ratios, strict=True)
        )
        return f"{self.name:24}{speeds}{self.weight_bytes / 2**20:7.1f} MiB{self.resident_bytes / 2**20:7.0f} MiB"


def load(folder: Path, spec: str) -> Decoder:
    """`float32`, `bfloat16`, or a method, which computes in bfloat16 unless it ends in `@float32`."""
    if spec in DTYPES:
        return load_decoder(folder, DTYPES[spec])
    name, _, dtype = spec.partition("@")
    method, options = parse_method(name)
    compute = DTYPES[dtype or "bfloat16"]
    return load_decoder(folder, compute, method.prepare(folder, compute, options))


def compare(folder: Path, name: str, specs: Sequence[str], tokens: int, rounds: int) -> Iterator[Line]:
    """A line for each of `specs`."""
    base = load(folder, "bfloat16")
    for spec in specs:
        decoder = base if spec == "bfloat16" else load(folder, spec)
        pairs = [_decode(decoder, base, batch, tokens, rounds) for batch in (1, 8)]
        pairs.append(_prefill(decoder, base, rounds))
        yield Line(
            f"{name}  {spec}",
            [ours for ours, _ in pairs],
            [ours / theirs for ours, theirs in pairs],
            weight_bytes(decoder),
            resident_bytes(folder, spec),
        )


def _decode(decoder: Decoder, base: Decoder, batch: int, tokens: int, rounds: int) -> tuple[float, float]:
    """Tokens a second of both in decode: what a longer run takes beyond its prefill."""
    both, prompts = _both(decoder, base), _prompts(decoder, batch, PROMPT)
    first, whole = (medians(both, prompts, count, rounds) for count in (1, tokens + 1))
    ours, theirs = (batch * tokens / (whole[i] - first[i]) for i in (0, 1))
    return ours, theirs


def _prefill(decoder: Decoder, base: Decoder, rounds: int) -> tuple[float, float]:
    """Tokens a second of both in a prompt of `PREFILL` tokens."""
    ours, theirs = medians(_both(decoder, base), _prompts(decoder, 1, PREFILL), 1, rounds)
    return PREFILL / ours, PREFILL / theirs


def _both(decoder: Decoder, base: Decoder) -> Sequence[Generate]:
    return [Ours(each).generate for each in (decoder, base)]


def _prompts(decoder: Decoder, batch: int, length: int) -> Prompts:
    vocab = range(decoder.config.vocab_size)
    return [random.Random(seed).choices(vocab, k=length) for seed in range(batch)]


def weight_bytes(decoder: Decoder) -> int:
    """Bytes of all projections; the embedding is beside them."""
    layers = (layer for layer in decoder.layers)
    inside = sum(each.qkv.nbytes + each.o.nbytes + each.gate_up.nbytes + each.down.nbytes for each in layers)
    return inside + decoder.lm_head.nbytes


def resident_bytes(folder: Path, spec: str) -> int:
    """What a process that has loaded the model, and done nothing else, keeps in memory beyond torch itself."""
    line = [sys.executable, "-m", "benchmarks.quant", str(folder), "--resident", spec]
    return int(subprocess.run(line, check=True, capture_output=True, text=True).stdout)


def _resident(folder: Path, spec: str) -> int:
    before = psutil.Process().memory_info().rss
    decoder = load(folder, spec)
    after = psutil.Process().memory_info().rss
    del decoder
    return after - before


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare ways to keep weights.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", default="+".join((*PLAIN, *METHODS)), help="joined by +")
    parser.add_argument("--resident", metavar="METHOD", help="print only the bytes it keeps resident")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.resident:
        print(_resident(options.folder, options.resident))
        return
    print(HEADER, flush=True)
    specs = options.methods.split("+")
    for line in compare(options.folder, options.folder.name, specs, options.tokens, options.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
