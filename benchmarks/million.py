"""A session as long as anyone will make one: a million steps through the real engine, without a model.

Everything but the model is what a user's run has: scheduler, radix tree, eviction, ledger, keyframes. The
next token is a random number, so no candidates are recorded, and a transaction holds many steps.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine import events as ev
from engine.engine import Engine
from engine.execution import NO_DETAILS, DetailsOf, Forward, Job, Limits, Outcome
from engine.kv.writes import WriteClock
from engine.params import EngineOptions, RequestSpec, SamplingParams
from engine.protocol import Inspect, Inspection
from engine.state import State
from engine.tokens import TokenLog
from sessions.creating import create_session
from sessions.header import Header, ModelShape
from sessions.writer import Writer

VOCAB: Final = 4_096
BLOCK_SIZE: Final = 16
STEPS_AT_ONCE: Final = 500  # in a transaction
LONG_TOKENS: Final = 30_000


@dataclass(frozen=True, slots=True)
class Size:
    """How long a session is, and how many KV blocks it has."""

    steps: int
    blocks: int


class Dice:
    """An executor whose tokens mean nothing."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.writes = WriteClock(0)  # there are no slots to write

    def begin(self, job: Job) -> Forward:
        raise NotImplementedError("there are no stages to halt at")

    def execute(self, job: Job) -> Outcome:
        tokens = [self._rng.randrange(VOCAB) for _ in job.choices]
        return Outcome(tokens, [None] * len(tokens), NO_DETAILS, 1_000_000 * len(job.slices), 10_000)

    def inspect(self, state: State, log: TokenLog, command: Inspect) -> Inspection:  # noqa: ARG002
        raise ValueError("there is no model")

    def forget(self, request: str) -> None:
        pass


class Batched(Writer):
    """Writes many steps in one transaction."""

    _steps = 0

    def commit(self, events: Sequence[ev.Event], details: DetailsOf | None) -> None:
        self.take(events, None if details is None else details.logits)
        self._steps += 1
        if self._steps % STEPS_AT_ONCE == 0:
            self.write()


class Crowd:
    """Who comes when: conversations over a few dozen shared beginnings, now and then many at once."""

    def __init__(self, rng: random.Random, steps: int) -> None:
        self._rng = rng
        self._long_at = steps // 3
        self._beginnings = [self._tokens(rng.randrange(64, 512)) for _ in range(48)]

    def arriving(self, step: int) -> list[RequestSpec]:
        """The requests that arrive after `step`."""
        if step == self._long_at:
            return [self._spec(self._tokens(LONG_TOKENS - 256), 256)]
        draw = self._rng.random()
        if draw < 0.000_05:
            return [self.conversation() for _ in range(150)]
        return [self.conversation()] if draw < 0.012 else []

    def conversation(self) -> RequestSpec:
        prompt = self._rng.choice(self._beginnings) + self._tokens(self._rng.randrange(8, 96))
        return self._spec(prompt, self._rng.randrange(16, 256))

    def _tokens(self, count: int) -> tuple[int, ...]:
        return tuple(self._rng.randrange(VOCAB) for _ in range(count))

    def _spec(self, prompt: tuple[int, ...], output: int) -> RequestSpec:
        return RequestSpec(prompt, SamplingParams(max_tokens=output, ignore_eos=True))


def generate(path: Path, size: Size, seed: int = 0) -> None:
    """Record a session of `size` to `path`, which must not exist."""
    rng = random.Random(seed)
    options = EngineOptions(kv_blocks=size.blocks, block_size=BLOCK_SIZE, token_budget=2_048, max_running=24)
    create_session(path, _header(options, size.blocks))
    writer = Batched(path)
    engine = Engine(Dice(rng), Limits(40_000, VOCAB), size.blocks, options, writer)
    crowd = Crowd(rng, size.steps)
    for step in range(size.steps):
        for spec in crowd.arriving(step):
            engine.submit(spec)
        if not engine.busy:
            engine.submit(crowd.conversation())
        engine.step()
    engine.close()


def _header(options: EngineOptions, blocks: int) -> Header:
    return Header(
        created="2026-01-01T00:00:00Z", tool_version="", python_version="", torch_version="",
        transformers_version="", model_path="", model_name="dice", config_sha256="", weights_sha256="",
        tokenizer_hash="", dtype="float32", device="cpu", options=options, num_blocks=blocks,
        shape=ModelShape(2, 4, 2, 32, VOCAB, 40_000, 512, "plain"),
    )  # fmt: skip
