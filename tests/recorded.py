"""Sessions of scripted runs, for tests of everything that reads one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.details import TokenDetails
from engine.engine import Engine, Sink
from engine.execution import Job, Limits, Outcome
from engine.params import EngineOptions, RequestSpec
from engine.timeline import Timeline
from sessions.creating import create_session
from sessions.header import Header, ModelShape
from sessions.writer import Writer
from tests.scripted import VOCAB, ScriptedExecutor, spec

SHAPE = ModelShape(
    layers=2, heads=4, kv_heads=2, head_dim=8, vocab_size=VOCAB, max_context=10_000, kv_bytes_per_token=256,
    linear_kernel="plain",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Logits:
    """Details that are nothing but logits; whoever wants to know more works it out from these."""

    logits: npt.NDArray[np.float32]

    def __call__(self) -> Sequence[TokenDetails]:
        return ()


class SpeakingExecutor(ScriptedExecutor):
    """A scripted executor whose tokens are the largest of made-up logits."""

    def execute(self, job: Job) -> Outcome:
        outcome = super().execute(job)
        logits = (
            np.stack([_logits(token) for token in outcome.tokens]) if outcome.tokens else np.empty((0, VOCAB))
        )
        details = Logits(logits.astype(np.float32))
        return replace(outcome, details=details, forward_ns=900_000, sample_ns=80_000)


def _logits(token: int) -> npt.NDArray[np.float32]:
    return -np.abs(np.arange(VOCAB, dtype=np.float32) - token) / 4


def header(num_blocks: int = 64, **options: object) -> Header:
    """The header of a scripted run."""
    return Header(
        created="2026-11-20T16:05:12+00:00", tool_version="0.1.0", python_version="3.11.2",
        torch_version="2.13.0", transformers_version="5.23.0", model_path="models/scripted",
        model_name="scripted", config_sha256="c" * 64, weights_sha256="a" * 64, tokenizer_hash="b" * 64,
        dtype="float32", device="cpu", options=EngineOptions(**options), num_blocks=num_blocks, shape=SHAPE,
    )  # type: ignore[arg-type]  # fmt: skip


def engine_on(sink: Sink, about: Header, timeline: Timeline | None = None) -> Engine:
    """A scripted engine as `about` says, recorded by `sink`."""
    executor = SpeakingExecutor(about.num_blocks, about.options.block_size)
    limits = Limits(10_000, VOCAB, layers=SHAPE.layers, heads=SHAPE.heads)
    return Engine(executor, limits, about.num_blocks, about.options, sink, timeline=timeline)


def writer_on(path: Path, about: Header, keyframe_every: int = 5_000) -> Writer:
    """A writer in this process, on a new session."""
    create_session(path, about)
    return Writer(path, keyframe_every)


DEMO: Sequence[Sequence[RequestSpec]] = [
    [spec(range(10), 12), spec([*range(10), 7, 7, 7], 14), spec([3] * 17, 9)],
    [spec(range(10), 10, n=2), spec([5] * 30, 8), spec([1, 2, 3], 20, priority=1)],
    [spec(range(12), 6), spec([3] * 80, 4)],
]
DEMO_HEADER = header(14, block_size=4, token_budget=12, max_running=4)


def run_demo(engine: Engine) -> None:
    """Requests that share prefixes, get chunked, evicted, preempted, refused and aborted."""
    for batch in DEMO:
        for request in batch:
            engine.submit(request)
        engine.run(6)
    engine.abort(next(reversed(engine.state.requests)))
    engine.run()


def record_demo(path: Path, keyframe_every: int = 5_000) -> Engine:
    """A closed session of the demo; the engine as the run left it."""
    writer = writer_on(path, DEMO_HEADER, keyframe_every)
    engine = engine_on(writer, DEMO_HEADER)
    run_demo(engine)
    writer.close()
    return engine
