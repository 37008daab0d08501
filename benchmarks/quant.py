"""Forward passes with weights or KV in fewer bits, beside float32 and packed bfloat16; and the memory each takes.

    python -m benchmarks.quant FOLDER --methods int8+int4=group:32 --threads 2

Passes of a method alternate with those of bfloat16, and lower quartiles are compared: what else runs on the
machine only ever makes a pass longer. bfloat16 beside itself says how far ratios can be trusted. Decode reads
`PAST` tokens of KV for each sequence. A process of its own loads each model to see what stays resident. GPTQ and
AWQ run on the same kernels as int4.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from benchmarks.generating import BLOCK_SIZE
from engine.kv.pool import KVPool, MakePool
from engine.model.batch import Batch, Span
from engine.model.decoder import Decoder, run
from engine.model.weights import DTYPES, load_decoder
from plugins.quantization.kv_pool import QuantizedKVPool
from plugins.quantization.methods import parse_method

METHODS = ("int8", "w8a8", "int4", "nf4", "kv-int8", "kv-int4")
PLAIN = ("float32", "bfloat16")
PAST = 256
PREFILL = 256
COLUMNS = ("batch 1", "batch 8", f"prefill {PREFILL}")
OF_BFLOAT16 = "of bf16"
HEADER = (
    f"{'tokens/s':26}{''.join(f'{name:>12}{OF_BFLOAT16:>8}' for name in COLUMNS)}{'weights':>11}{'resident':>11}"
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
        return f"{self.name:26}{speeds}{self.weight_bytes / 2**20:7.1f} MiB{self.resident_bytes / 2**20:7.0f} MiB"


@dataclass(frozen=True, slots=True)
class Way:
    """A model as one of the methods keeps it."""

    decoder: Decoder
    make_pool: MakePool = KVPool

    def passes(self, batch: int, start: int, tokens: int) -> Callable[[], object]:
        """What runs `tokens` from position `start` on of `batch` sequences, the same ones each time."""
        blocks = -(-(start + tokens) // BLOCK_SIZE)
        pool = self.make_pool(self.decoder.config, batch * blocks, BLOCK_SIZE, self.decoder.dtype)
        spans = [Span(str(i), start, tokens, range(i * blocks, (i + 1) * blocks)) for i in range(batch)]
        ids = [token % self.decoder.config.vocab_size for token in range(7, 7 + batch * tokens)]

        @torch.inference_mode()
        def forward() -> object:
            return run(self.decoder.stages(Batch.build(spans, ids, BLOCK_SIZE), pool))

        return forward


def load(folder: Path, spec: str) -> Way:
    """`float32`, `bfloat16`, or a method, which computes in bfloat16 unless it ends in `@float32`."""
    name, _, dtype = spec.partition("@")
    if spec in DTYPES:
        return Way(load_decoder(folder, DTYPES[spec]))
    compute = DTYPES[dtype or "bfloat16"]
    if name in ("kv-int8", "kv-int4"):
        return Way(load_decoder(folder, compute), lambda *of: QuantizedKVPool(*of, 8 if name == "kv-int8" else 4))
    method, options = parse_method(name)
    return Way(load_decoder(folder, compute, method.prepare(folder, compute, options)))


def compare(folder: Path, name: str, specs: Sequence[str], rounds: int) -> Iterator[Line]:
    """A line for each of `specs`."""
    base = load(folder, "bfloat16")
    for spec in specs:
        way = base if spec == "bfloat16" else load(folder, spec)
        rates = [_rates(way, base, *of, rounds) for of in ((1, PAST, 1), (8, PAST, 1), (1, 0, PREFILL))]
        yield Line(
            f"{name}  {spec}",
            [ours for ours, _ in rates],
            [ours / theirs for ours, theirs in rates],
            weight_bytes(way.decoder),
            resident_bytes(folder, spec),
        )


def _rates(way: Way, base: Way, batch: int, start: int, tokens: int, rounds: int) -> tuple[float, float]:
    """Tokens a second of both, from passes in turn."""
    both = [each.passes(batch, start, tokens) for each in (way, base)]
    for forward in both:
        forward()
    taken: list[list[float]] = [[] for _ in both]
    for _ in range(rounds):
        for forward, times in zip(both, taken, strict=True):
            begin = time.perf_counter()
            forward()
            times.append(time.perf_counter() - begin)
    ours, theirs = (batch * tokens / statistics.quantiles(times, n=4)[0] for times in taken)
    return ours, theirs


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
    way = load(folder, spec)
    after = psutil.Process().memory_info().rss
    del way
    return after - before


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare ways to keep weights.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", default="+".join((*PLAIN, *METHODS)), help="joined by +")
    parser.add_argument("--resident", metavar="METHOD", help="print only the bytes it keeps resident")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=24)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.resident:
        print(_resident(options.folder, options.resident))
        return
    print(HEADER, flush=True)
    specs = options.methods.split("+")
    for line in compare(options.folder, options.folder.name, specs, options.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
