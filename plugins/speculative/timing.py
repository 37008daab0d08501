"""Decoding with drafts beside plain decoding, on the same prompts and in turn. Imports torch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.engine import Engine
from engine.execution import limits_of
from engine.executor import TorchExecutor
from engine.kv.pool import KVPool
from engine.load import attach
from engine.model.decoder import Decoder
from engine.params import EngineOptions, RequestSpec, SamplingParams
from engine.plugs import Plugs
from plugins.loading import load_plugins, plugs_of

PLAIN = ""
BLOCK_SIZE = 16


@dataclass(frozen=True, slots=True)
class Timed:
    """One request that was decoded alone: `seconds` and `passes` are of what came after its first token."""

    method: str
    prompt: int
    tokens: tuple[int, ...]
    passes: int
    drafted: int
    accepted: int
    seconds: float

    @property
    def decoded(self) -> int:
        """Tokens that the passes gave."""
        return len(self.tokens) - 1


class Bench:
    """Engines on the same weights, one that decodes plainly and one for each method; nothing is recorded."""

    def __init__(self, folder: Path, decoder: Decoder, methods: Mapping[str, Plugs], longest: int) -> None:
        """`longest` is the most tokens of a request. Raises ModelError or OptionError."""
        blocks = -(-longest // BLOCK_SIZE) + 1
        ways = {PLAIN: Plugs(), **methods}
        self._engines = {method: _engine(folder, decoder, blocks, plugs) for method, plugs in ways.items()}

    def run(self, prompts: Sequence[Sequence[int]], params: SamplingParams, rounds: int) -> Iterator[Timed]:
        """Each prompt with each method, `rounds` times in turn; a first time that does not count goes before."""
        for method in self._engines:
            self._time(method, 0, prompts[0], params)
        for number, prompt in enumerate(prompts):
            for turn in range(rounds):
                yield from (self._time(method, number, prompt, params) for method in self._turned(number + turn))

    def _turned(self, by: int) -> list[str]:
        """The methods, another one first each time."""
        methods = [*self._engines]
        by %= len(methods)
        return methods[by:] + methods[:by]

    @torch.inference_mode()
    def _time(self, method: str, number: int, prompt: Sequence[int], params: SamplingParams) -> Timed:
        """Raises PluginFailedError where the drafts came to an end."""
        engine = self._engines[method]
        (request,) = engine.submit(RequestSpec(tuple(prompt), params))
        totals = engine.state.totals
        before = totals.output_tokens
        while totals.output_tokens == before:
            engine.step()
        drafted, accepted = totals.drafted_tokens, totals.accepted_tokens
        passes, began = 0, time.perf_counter()
        while engine.step() is not None:
            passes += 1
        seconds = time.perf_counter() - began
        for failure in engine.plugs.disabled.values():
            raise failure
        return Timed(
            method, number, tuple(engine.tokens.tokens_of(request))[len(prompt) :], passes,
            totals.drafted_tokens - drafted, totals.accepted_tokens - accepted, seconds,
        )  # fmt: skip


def _engine(folder: Path, decoder: Decoder, blocks: int, plugs: Plugs) -> Engine:
    options = EngineOptions(
        block_size=BLOCK_SIZE, kv_blocks=blocks, token_budget=blocks * BLOCK_SIZE, prefix_cache=False
    )
    pool = KVPool(decoder.config, blocks, BLOCK_SIZE, decoder.dtype)
    executor = TorchExecutor(decoder, pool, options.seed, plugs=plugs)
    attach(plugs, executor, folder)
    return Engine(executor, limits_of(decoder.config), blocks, options, plugs=plugs)


def plugs_by_name(methods: Sequence[str]) -> dict[str, Plugs]:
    """What an engine asks, for each plugin with its options. Raises PluginError."""
    return {method: plugs_of(load_plugins([method])) for method in methods}


__all__ = ["PLAIN", "Bench", "Timed", "plugs_by_name"]
