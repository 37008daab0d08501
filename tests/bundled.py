"""Engines on the bundled model, and runs of random workloads to compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from engine.details import TokenDetails
from engine.engine import Engine
from engine.executor import TorchExecutor
from engine.kv.pool import KVPool
from engine.load import limits_of
from engine.model.decoder import Decoder
from engine.model.weights import DTYPES, load_decoder
from engine.params import EngineOptions, RequestSpec, SamplingParams

FOLDER = Path(__file__).parent.parent / "models" / "tiny-python"


@cache
def decoder() -> Decoder:
    return load_decoder(FOLDER, DTYPES["float32"])


def bundled_engine(num_blocks: int, executor: type[TorchExecutor] = TorchExecutor, **options: object) -> Engine:
    """An engine on the bundled model in float32, with a pool of `num_blocks`."""
    chosen = EngineOptions(dtype="float32", **options)  # type: ignore[arg-type]
    pool = KVPool(decoder().config, num_blocks, chosen.block_size)
    made = executor(decoder(), pool, chosen.seed)
    return Engine(made, limits_of(decoder().config), num_blocks, chosen)


def executor_of(engine: Engine) -> TorchExecutor:
    assert isinstance(engine._executor, TorchExecutor)
    return engine._executor


@dataclass(slots=True)
class Run:
    """Outputs and details of every request of a finished run, by id."""

    outputs: dict[str, list[int]] = field(default_factory=dict)
    details: dict[tuple[str, int], TokenDetails] = field(default_factory=dict)


def run_all(engine: Engine, specs: Sequence[RequestSpec]) -> Run:
    """Submit `specs`, step until nothing is live, and keep what was chosen and why."""
    ids = [id_ for spec in specs for id_ in engine.submit(spec)]
    result = Run()
    while (step := engine.step()) is not None:
        result.details.update({(d.request, d.position): d for d in step.details()})
    for id_ in ids:
        prompt = engine.tokens.prompt_tokens_of(id_)
        result.outputs[id_] = list(engine.tokens.tokens_of(id_))[prompt:]
    return result


def greedy(prompt: Sequence[int], max_tokens: int, n: int = 1) -> RequestSpec:
    return RequestSpec(tuple(prompt), SamplingParams(max_tokens=max_tokens, ignore_eos=True), n)
