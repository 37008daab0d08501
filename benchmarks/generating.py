"""Greedy generation by one engine in a process of its own, which says how long prompts take it.

    python -m benchmarks.generating workbench|generate FOLDER DTYPE THREADS

Reads `{"prompts": [[id, ...], ...], "max_tokens": n}` a line, and answers each with seconds. In one process they
would share an allocator, and the large blocks that one of them frees decide whether those of the other go back to
the system after each use: up to a third of transformers' prefill.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch

from engine.engine import Engine
from engine.executor import TorchExecutor
from engine.kv.pool import KVPool
from engine.load import limits_of
from engine.model.decoder import Decoder
from engine.model.reference import load_reference
from engine.model.weights import DTYPES, load_decoder
from engine.params import EngineOptions, RequestSpec, SamplingParams

BLOCK_SIZE = 16

Prompts = Sequence[Sequence[int]]
Generate = Callable[[Prompts, int], object]
"""Exactly so many tokens for each of some prompts of one length."""
Who = Literal["workbench", "generate"]


class Generating:
    """The handle on such a process."""

    def __init__(self, who: Who, folder: Path, dtype: str) -> None:
        asked = [who, str(folder), dtype, str(torch.get_num_threads())]
        line = [sys.executable, "-m", "benchmarks.generating", *asked]
        self._process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self, prompts: Prompts, max_tokens: int) -> float:
        """How long it takes to generate; raises RuntimeError when the process has died of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"prompts": prompts, "max_tokens": max_tokens}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("a process that generates has died: its last words are above")
        return float(answer)

    def close(self) -> None:
        self._process.communicate()


def engine_generate(decoder: Decoder) -> Generate:
    """A new engine each time, so that nothing is cached from before."""

    def generate(prompts: Prompts, max_tokens: int) -> None:
        engine = _new_engine(decoder, prompts, max_tokens)
        params = SamplingParams(max_tokens=max_tokens, ignore_eos=True)
        for prompt in prompts:
            engine.submit(RequestSpec(tuple(prompt), params))
        engine.run()

    return generate


def _new_engine(decoder: Decoder, prompts: Prompts, max_tokens: int) -> Engine:
    """An engine with just room for `prompts` and their outputs, on weights that are loaded already."""
    longest = max(map(len, prompts)) + max_tokens
    blocks = len(prompts) * (longest // BLOCK_SIZE + 1)
    options = EngineOptions(block_size=BLOCK_SIZE, token_budget=1024, kv_blocks=blocks)
    executor = TorchExecutor(decoder, KVPool(decoder.config, blocks, BLOCK_SIZE, decoder.dtype), options.seed)
    return Engine(executor, limits_of(decoder.config), blocks, options)


def main() -> None:
    who, folder, dtype, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    generate = _load(who, Path(folder), DTYPES[dtype])
    for line in sys.stdin:
        asked = json.loads(line)
        begin = time.perf_counter()
        generate(asked["prompts"], asked["max_tokens"])
        print(time.perf_counter() - begin, flush=True)


def _load(who: str, folder: Path, dtype: torch.dtype) -> Generate:
    if who == "generate":
        return load_reference(folder, dtype).generate
    return engine_generate(load_decoder(folder, dtype))


if __name__ == "__main__":
    main()
