"""`--plugin kv-int8` and `kv-int4`: recorded, replayed, looked into, compared, and beside quantized weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.engine import Engine
from engine.kv.pool import KVPool
from engine.load import load
from engine.model.config import ModelConfig
from engine.params import EngineOptions, OptionError
from engine.plugs import Plugs
from engine.protocol import Inspect
from engine.state import State
from engine.timeline import MemoryTimeline
from plugins.errors import PluginError
from plugins.loading import load_plugins
from plugins.quantized import KVQuantization, kv_int4, kv_int8
from sessions.reader import Session
from tests.bundled import FOLDER, executor_of, greedy, run_all
from tests.commands import run
from tests.quantized import held_out
from workbench.views.blocks_memory import per_token

QUANTIZATION = {"kv-int8": kv_int8, "kv-int4": kv_int4}
BYTES = {"kv-int8": 0.29, "kv-int4": 0.19}
"""The most that keys and values take of what they take in float32, scales with them."""

BOTH = pytest.mark.parametrize("plugin", BYTES)
MORE = ("--prompt", "def f(x):", "--prompt", "def f(x):\n    return", "--prompt", "import os", "--n", "2",
        "--temperature", "0.8", "--max-tokens", "12", "--block-size", "4", "--kv-blocks", "24")  # fmt: skip


def engine_of(plugin: KVQuantization, **options: Any) -> Engine:
    plugs = Plugs(store=(plugin.name, plugin.provide(plugin.options())[0]))
    return load(FOLDER, EngineOptions(dtype="float32", block_size=4, **options), plugs=plugs)


@BOTH
@pytest.mark.parametrize("more", [(), ("--plugin", "int8"), ("--invariant",), ("--token-budget", "5")])
def test_a_run_with_few_bits_of_kv_repeats_to_the_bit(plugin: str, more: tuple[str, ...], tmp_path: Path) -> None:
    """The pool is small enough that blocks are copied, evicted and computed again."""
    path = tmp_path / "run.wbs"
    assert run("record", "--plugin", plugin, *MORE, *more, "-o", path).code == 0
    ran = run("replay", path, "--json")

    assert ran.code == 0, ran.out
    assert json.loads(ran.out)["identical"]


@BOTH
def test_the_memory_falls_as_promised_and_is_shown(plugin: str, tmp_path: Path) -> None:
    plain, fewer = tmp_path / "plain.wbs", tmp_path / "fewer.wbs"
    memory = ("--prompt", "a", "--max-tokens", "1", "--kv-memory", "4MiB")
    run("record", *memory, "-o", plain)
    run("record", "--plugin", plugin, *memory, "-o", fewer)
    with Session.open(plain) as one, Session.open(fewer) as other:
        before, after = one.header, other.header
    said = run("sessions", "show", fewer).out

    assert after.shape.kv_bytes_per_token <= BYTES[plugin] * before.shape.kv_bytes_per_token
    assert after.num_blocks >= before.num_blocks / BYTES[plugin] * 0.99
    assert after.num_blocks * 16 * after.shape.kv_bytes_per_token <= 4 << 20
    assert f"{after.shape.kv_bytes_per_token} bytes a token" in said
    assert plugin in said
    each = after.shape.kv_bytes_per_token / (before.shape.kv_bytes_per_token / 4)
    assert per_token(after).endswith(f"{each:g} B")


@BOTH
@pytest.mark.parametrize("kept", [True, False])
def test_a_row_looked_into_again_reads_what_the_run_stored(plugin: str, kept: bool) -> None:
    """From KV that is still there, to the bit; from none of it, but for rounding."""
    engine = engine_of(QUANTIZATION[plugin], kv_blocks=64)
    details = run_all(engine, [greedy(held_out()[0][:30], 12)]).details
    executor, (request, last) = executor_of(engine), max(details)
    state = engine.state if kept else State(64, 4)
    with torch.inference_mode():
        found = executor.inspect(state, engine.tokens, Inspect(request=request, position=last - 1))
    candidates = details[request, last].candidates
    off = np.abs(np.frombuffer(found.logits, "<f4")[list(candidates.ids)] - np.array(candidates.raw)).max()

    assert (found.reused > 0) == kept
    assert off <= (0.0 if kept else 1e-4)
    assert found.check < 1e-5


@pytest.mark.parametrize("exact", [True, False])
def test_a_rewound_run_says_the_same_again(exact: bool) -> None:
    engine = engine_of(kv_int4, kv_blocks=20, token_budget=20)
    timeline = MemoryTimeline(20, engine.options)
    engine._sink = engine._timeline = engine._rewinder._timeline = timeline
    for start in (0, 0, 20):
        engine.submit(greedy(held_out()[0][start : start + 14], 10))
    engine.run()
    first = {id_: list(engine.tokens.tokens_of(id_)) for id_ in ("1", "2", "3")}
    engine.rewind(7, exact=exact)
    engine.run()

    assert {id_: list(engine.tokens.tokens_of(id_)) for id_ in first} == first


def test_a_difference_is_found_in_the_cache_that_holds_less(tmp_path: Path) -> None:
    """Both runs are computed again as they were, each over its own kind of pool."""
    plain, fewer = tmp_path / "plain.wbs", tmp_path / "fewer.wbs"
    prompt = ("--prompt", "def fibonacci(n):\n    if n", "--max-tokens", "8")
    run("record", *prompt, "-o", plain)
    run("record", *prompt, "--plugin", "kv-int4", "-o", fewer)
    found = json.loads(run("diff", plain, fewer, "--at", "1:13", "--json").out)

    assert found["first_stage"]["stage"] == "kv"
    assert found["first_stage"]["run"] == "b"
    assert [found["search"][run]["worst"] for run in "ab"] == [0.0, 0.0]


# -- the hook --------------------------------------------------------------------------------------------------


class Store:
    """A KV store that goes wrong as asked."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make_pool = make


def refuses(config: ModelConfig, *_more: object) -> KVPool:
    raise OptionError(f"head_dim is {config.head_dim}: it must be 3")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda *_: 1 / 0, "make_pool raised ZeroDivisionError: division by zero"),
        (lambda *_: "pool", "make_pool returned str, not a KVPool"),
        (lambda config, _blocks, size, _dtype: KVPool(config, 3, size), "returned 3 blocks of 4 for 1 of 4"),
    ],
)
def test_a_store_that_fails_leaves_a_plain_pool(make: Callable[..., Any], said: str) -> None:
    plugs = Plugs(store=("odd", Store(make)))
    engine = load(FOLDER, EngineOptions(dtype="float32", block_size=4, kv_memory_bytes=1 << 20), plugs=plugs)

    assert said in str(plugs.disabled["odd"])
    assert type(executor_of(engine).pool) is KVPool
    assert engine.state.blocks.num_blocks == (1 << 20) // (4 * executor_of(engine).pool.bytes_per_token)


def test_an_option_that_the_model_does_not_allow_ends_it_instead() -> None:
    with pytest.raises(OptionError, match="it must be 3"):
        load(FOLDER, EngineOptions(dtype="float32"), plugs=Plugs(store=("odd", Store(refuses))))


def test_a_run_keeps_its_kv_in_one_way() -> None:
    with pytest.raises(PluginError, match="both kv-int8 and kv-int4 bring a KV store: use one of them"):
        load_plugins(["kv-int8", "kv-int4"])
