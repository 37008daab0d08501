"""What recording costs, and how much of a step is bookkeeping: batch 8 on the bundled model."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine import events as ev
from engine.engine import Engine, Sink
from engine.executor import TorchExecutor
from engine.kv.pool import KVPool
from engine.load import limits_of
from engine.model.decoder import Decoder
from engine.params import EngineOptions, RequestSpec, SamplingParams
from sessions.header import Header
from sessions.recorder import Recorder
from workbench.cli.assemble import shape_of

TOKENIZER = Path(__file__).parent.parent / "models" / "tiny-python" / "tokenizer.json"
BATCH, PROMPT_TOKENS, OUTPUT_TOKENS, BLOCKS = 8, 64, 256, 256
WARM_STEPS, SLICE_STEPS = 3, 16


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians: tokens/s without and with a recorder, what it takes away (0.05 is 5 %), plan + commit in a step.

    `wall` and `cpu` compare neighbouring slices of a run without and one with a recorder: `wall` by tokens/s,
    `cpu` by the CPU time of the engine's thread, which says something on a busy machine too.
    """

    bare: float
    recorded: float
    wall: float
    cpu: float
    bookkeeping: float
    bytes_per_token: float

    def __str__(self) -> str:
        return (
            f"recording off {self.bare:8.0f} tokens/s, on {self.recorded:8.0f}\n"
            f"recording costs {self.wall:.1%} of tokens/s, {self.cpu:.1%} by its thread's CPU time\n"
            f"plan + commit: {self.bookkeeping:.1%} of a step\n"
            f"session file: {self.bytes_per_token:.0f} bytes a token"
        )


@dataclass(frozen=True, slots=True)
class Slice:
    """Some decode steps of one run."""

    tokens: int
    wall_ns: int
    cpu_ns: int
    bookkeeping_ns: int

    @property
    def rate(self) -> float:
        return self.tokens / self.wall_ns * 1e9


def measure(decoder: Decoder, rounds: int) -> Cost:
    """Takes runs without and with a recorder forward in turn, a slice at a time."""
    pairs: list[tuple[Slice, Slice]] = []
    sizes: list[float] = []
    for number in range(rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "run.wbs"
            found = list(_slices(decoder, Recorder(file, _header(decoder), TOKENIZER.read_bytes())))
            if number > 0:  # the first round warms up
                pairs.extend(found)
                sizes.append(file.stat().st_size / (BATCH * OUTPUT_TOKENS))
    return Cost(
        bare=statistics.median(bare.rate for bare, _ in pairs),
        recorded=statistics.median(recorded.rate for _, recorded in pairs),
        wall=1 - statistics.median(recorded.rate / bare.rate for bare, recorded in pairs),
        cpu=1 - statistics.median(bare.cpu_ns / recorded.cpu_ns for bare, recorded in pairs),
        bookkeeping=statistics.median(bare.bookkeeping_ns / bare.wall_ns for bare, _ in pairs),
        bytes_per_token=statistics.median(sizes),
    )


def _slices(decoder: Decoder, recorder: Recorder) -> Iterator[tuple[Slice, Slice]]:
    """The slices of a run without and one with `recorder`; now the one, now the other goes first."""
    bare, recorded = _started(decoder, None), _started(decoder, recorder)
    for number in range((OUTPUT_TOKENS - WARM_STEPS) // SLICE_STEPS):
        if number % 2:
            late = _slice(recorded, recorder)
            yield _slice(bare, recorder), late
        else:
            yield _slice(bare, recorder), _slice(recorded, recorder)
    recorded.run()
    recorder.close()


def _started(decoder: Decoder, sink: Sink | None) -> Engine:
    """A batch past its prefill."""
    engine = _engine(decoder, sink)
    rng = random.Random(0)
    params = SamplingParams(max_tokens=OUTPUT_TOKENS, ignore_eos=True)
    for _ in range(BATCH):
        engine.submit(RequestSpec(tuple(rng.choices(range(decoder.config.vocab_size), k=PROMPT_TOKENS)), params))
    engine.run(WARM_STEPS)
    return engine


def _slice(engine: Engine, recorder: Recorder) -> Slice:
    """The next steps of `engine`, begun when the writer has nothing left to do."""
    recorder.flush()
    before, bookkeeping = engine.state.totals.output_tokens, 0
    wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
    for _ in range(SLICE_STEPS):
        step = engine.step()
        assert step is not None
        done = step.results[-1]
        assert isinstance(done, ev.StepCommitted)
        bookkeeping += done.plan_ns + done.commit_ns
    cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
    return Slice(engine.state.totals.output_tokens - before, wall, cpu, bookkeeping)


def _header(decoder: Decoder) -> Header:
    shape = shape_of(decoder, decoder.config.kv_bytes_per_token("float32"))
    return Header(
        created="", tool_version="", python_version="", torch_version="", transformers_version="", model_path="",
        model_name="", config_sha256="", weights_sha256="", tokenizer_hash="", dtype="float32", device="cpu",
        options=EngineOptions(kv_blocks=BLOCKS), num_blocks=BLOCKS, shape=shape,
    )  # fmt: skip


def _engine(decoder: Decoder, sink: Sink | None) -> Engine:
    options = EngineOptions(kv_blocks=BLOCKS, token_budget=1024)
    pool = KVPool(decoder.config, BLOCKS, options.block_size, decoder.dtype)
    executor = TorchExecutor(decoder, pool, options.seed)
    return Engine(executor, limits_of(decoder.config), BLOCKS, options, sink)
