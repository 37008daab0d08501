"""`make bench`: what the engine and its recorder cost, beside transformers on the same prompts.

    python -m benchmarks [--quick] [--threads N] [--only speed|recording|session|quant|spec]

The 0.5B model has random weights in the shape of Qwen2.5-0.5B, made in a temporary folder (1 GB).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch

from benchmarks import looking_back, quant, random_model, recording, spec, speed
from engine.model.weights import load_decoder

STAGES = ("recording", "session", "speed", "quant", "spec")
BUNDLED = Path(__file__).parent.parent / "models" / "tiny-python"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, shorter outputs")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", choices=STAGES)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rounds, tokens = (3, 16) if options.quick else (7, 48)
    wanted = STAGES if options.only is None else (options.only,)
    if "recording" in wanted:
        _recording(3 if options.quick else 9)
    if "session" in wanted:
        _session(options.quick)
    if "speed" in wanted:
        torch.set_num_threads(options.threads)
        _speed(tokens, rounds)
    if "quant" in wanted:
        torch.set_num_threads(options.threads)
        _quant(rounds)
    if "spec" in wanted:
        torch.set_num_threads(options.threads)
        print(f"{torch.get_num_threads()} threads\n{spec.HEADER}", flush=True)
        spec.measure(options.quick, lambda line: print(line, flush=True))


def _recording(rounds: int) -> None:
    """With one thread for the model, as the workbench runs it: the writer has the other core."""
    torch.set_num_threads(1)
    print("bundled model, float32, batch 8, 1 thread")
    print(recording.measure(load_decoder(BUNDLED, torch.float32), rounds), end="\n\n", flush=True)


def _session(quick: bool) -> None:
    """Looking back in sessions of growing length, over a pool of 100,000 blocks; takes ten minutes."""
    print(looking_back.HEADER, flush=True)
    for found in looking_back.compare(quick):
        print(found, flush=True)
    print()


def _speed(tokens: int, rounds: int) -> None:
    print(f"{torch.get_num_threads()} threads, memory bandwidth {speed.bandwidth() / 1e9:.1f} GB/s")
    print(speed.HEADER, flush=True)
    _print(speed.compare(BUNDLED, "bundled fp32", "float32", 4 * tokens, rounds))
    with tempfile.TemporaryDirectory() as folder:
        print("building the 0.5B model", file=sys.stderr)
        random_model.build(Path(folder), "0.5b", "bfloat16")
        _print(speed.compare(Path(folder), "0.5B bf16", "bfloat16", tokens // 2, rounds))


def _quant(rounds: int) -> None:
    """The bundled model also in float32, as the workbench runs it."""
    print(f"{torch.get_num_threads()} threads")
    print(quant.HEADER, flush=True)
    plain = (*quant.PLAIN, *quant.METHODS)
    _print(
        quant.compare(BUNDLED, "bundled", (*plain, *(f"{each}@float32" for each in quant.METHODS)), 8 * rounds)
    )
    with tempfile.TemporaryDirectory() as folder:
        print("building the 0.5B model", file=sys.stderr)
        random_model.build(Path(folder), "0.5b", "bfloat16")
        _print(quant.compare(Path(folder), "0.5B", plain, 2 * rounds))


def _print(lines: Iterable[object]) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
