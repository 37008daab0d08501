"""What recording costs, and how much of a step is bookkeeping: batch 8 on the bundled model."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from engine import events as ev
from engine.engine import Engine, Sink
from engine.executor import TorchExecutor
from engine.kv.pool import KVPool
from engine.load import limits_of
from engine.model.decoder import Decoder
from engine.params import EngineOptions, RequestSpec, SamplingParams
from sessions.header import Header, ModelShape
from sessions.recorder import Recorder

TOKENIZER = Path(__file__).parent.parent / "models" / "tiny-python" / "tokenizer.json"
BATCH, PROMPT_TOKENS, OUTPUT_TOKENS, BLOCKS = 8, 64, 256, 256


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians over rounds: tokens/s without and with a recorder, and plan + commit as a share of a step."""

    bare: float
    recorded: float
    bookkeeping: float
    bytes_per_token: float

    def __str__(self) -> str:
        cost = 1 - self.recorded / self.bare
        return (
            f"recording off {self.bare:8.0f} tokens/s, on {self.recorded:8.0f}: costs {cost:6.1%}\n"
            f"plan + commit: {self.bookkeeping:.1%} of a step; session file: {self.bytes_per_token:.0f} bytes a token"
        )


def measure(decoder: Decoder, rounds: int) -> Cost:
    """Runs with and without a recorder in turn."""
    bare, recorded, shares, sizes = [], [], [], []
    _rate(decoder, None)
    for _ in range(rounds):
        rate, share = _rate(decoder, None)
        bare.append(rate)
        shares.append(share)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "run.wbs"
            recorder = Recorder(file, _header(decoder), TOKENIZER.read_bytes())
            recorded.append(_rate(decoder, recorder)[0])
            recorder.close()
            sizes.append(file.stat().st_size / (BATCH * OUTPUT_TOKENS))
    return Cost(*map(statistics.median, (bare, recorded, shares, sizes)))


def _rate(decoder: Decoder, sink: Sink | None) -> tuple[float, float]:
    """Output tokens per second of the decode steps, and the share of plan + commit in them."""
    engine = _engine(decoder, sink)
    rng = random.Random(0)
    params = SamplingParams(max_tokens=OUTPUT_TOKENS, ignore_eos=True)
    for _ in range(BATCH):
        engine.submit(RequestSpec(tuple(rng.choices(range(decoder.config.vocab_size), k=PROMPT_TOKENS)), params))
    engine.run(3)
    before = engine.state.totals.output_tokens
    bookkeeping = 0
    begin = time.perf_counter_ns()
    while (step := engine.step()) is not None:
        done = step.results[-1]
        assert isinstance(done, ev.StepCommitted)
        bookkeeping += done.plan_ns + done.commit_ns
    taken = time.perf_counter_ns() - begin
    return (engine.state.totals.output_tokens - before) / taken * 1e9, bookkeeping / taken


def _header(decoder: Decoder) -> Header:
    config = decoder.config
    shape = ModelShape(
        config.layers, config.heads, config.kv_heads, config.head_dim, config.vocab_size, config.context_tokens,
        config.kv_bytes_per_token("float32"), decoder.lm_head.kernel,
    )  # fmt: skip
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
