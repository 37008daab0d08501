"""Sessions of scripted runs, for tests of everything that reads one."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from pathlib import Path

from engine.details import Candidates, StageResult, TokenDetails
from engine.engine import Engine
from engine.execution import Job, Limits, Outcome
from engine.params import EngineOptions, RequestSpec
from sessions.header import Header, ModelShape
from sessions.recorder import Recorder
from tests.scripted import VOCAB, ScriptedExecutor, spec

SHAPE = ModelShape(
    layers=2, heads=4, kv_heads=2, head_dim=8, vocab_size=VOCAB, max_context=10_000, kv_bytes_per_token=256,
    linear_kernel="plain",
)  # fmt: skip


class Letters:
    """A vocabulary of one letter a token."""

    def token_text(self, token: int) -> str:
        return chr(ord("A") + token)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(self.token_text, ids))


class ExplainingExecutor(ScriptedExecutor):
    """A scripted executor whose choices come with details."""

    def execute(self, job: Job) -> Outcome:
        outcome = super().execute(job)
        places = [(choice.request, choice.position) for choice in job.choices]

        def details() -> list[TokenDetails]:
            chosen = zip(places, outcome.tokens, strict=True)
            return [made_up_details(request, position, token) for (request, position), token in chosen]

        return Outcome(outcome.tokens, [0.5] * len(places), details, 900_000, 80_000)


def made_up_details(request: str, position: int, token: int) -> TokenDetails:
    """Details with two candidates, one of which top-k removed."""
    return TokenDetails(
        request=request, position=position, token=token, rank=1, raw_lse=3.0, raw_logprob=-0.5,
        processed_lse=3.5, processed_logprob=-0.25, entropy=1.25, varentropy=0.5, margin=0.75, draw=0.5,
        interval=(0.0, 0.8), near_tie=False, logits_hash=struct.unpack("<Q", b"\xff" * 8)[0] - position,
        stages=(StageResult("temperature", 0.5, VOCAB), StageResult("top_k", 1.0, 1, 5.0)),
        candidates=Candidates(
            array("i", [token, (token + 1) % VOCAB]), array("f", [2.5, 2.0]), (array("f", [5.0, 4.0]),),
            array("f", [1.0, 0.0]), array("B", [0, 6]), array("f", [0.0, 2.0]),
        ),
    )  # fmt: skip


def header(num_blocks: int = 64, **options: object) -> Header:
    chosen = EngineOptions(**options)  # type: ignore[arg-type]
    return Header(
        created="2026-11-20T16:05:12Z", tool_version="0.1.0", python_version="3.11.2", torch_version="2.13.0",
        transformers_version="5.23.0", model_path="models/scripted", model_name="scripted",
        config_sha256="c" * 64, weights_sha256="a" * 64, tokenizer_hash="b" * 64, dtype="float32",
        device="cpu", options=chosen, num_blocks=num_blocks, shape=SHAPE,
    )  # fmt: skip


def recorded_engine(
    path: Path, num_blocks: int = 64, keyframe_every: int = 5_000, **options: object
) -> tuple[Engine, Recorder]:
    """A scripted engine with a recorder on `path`."""
    about = header(num_blocks, **options)
    recorder = Recorder(path, about, Letters(), keyframe_every=keyframe_every)
    executor = ExplainingExecutor(num_blocks, about.options.block_size)
    return Engine(executor, Limits(10_000, VOCAB), num_blocks, about.options, recorder), recorder


def record_demo(path: Path, keyframe_every: int = 5_000) -> Engine:
    """A closed session in which prefixes are shared, chunks cut, blocks evicted and requests preempted."""
    engine, recorder = recorded_engine(path, 14, keyframe_every, block_size=4, token_budget=12, max_running=4)
    for batch in DEMO:
        for request in batch:
            engine.submit(request)
        engine.run(6)
    engine.run()
    recorder.close()
    return engine


DEMO: Sequence[Sequence[RequestSpec]] = [
    [spec(range(10), 12), spec([*range(10), 7, 7, 7], 14), spec([3] * 17, 9)],
    [spec(range(10), 10, n=2), spec([5] * 30, 8), spec([1, 2, 3], 20, priority=1)],
    [spec(range(12), 6), spec([3] * 80, 4)],
]
