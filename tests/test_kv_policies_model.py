"""On the bundled model: a thinned cache gives what transformers computes under the same mask."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine import events as ev
from engine.engine import Engine
from engine.executor import TorchExecutor
from engine.kv.holes import Drops
from engine.kv.pool import KVPool
from engine.load import limits_of, load
from engine.model.invariant import invariant
from engine.params import EngineOptions
from engine.plugs import Plugs
from engine.protocol import Inspect
from plugins.loading import load_plugins, plugs_of
from sessions.reader import Session
from tests.bundled import FOLDER, decoder, greedy
from tests.commands import run
from tests.test_going_back_model import Watched, check_again, workload
from tests.tiny_models import save_model

TEXT = [
    301,
    77,
    912,
    45,
    45,
    1333,
    8,
    260,
    301,
    77,
    912,
    2024,
    99,
    14,
    555,
    301,
    77,
    912,
    45,
    600,
    601,
    602,
    17,
    9,
]
POLICIES = ["sinks=window:9,sinks:3", "h2o=heavy:8,recent:6", "snapkv=keep:8,observe:5,kernel:3"]


def plugs(policy: str) -> Plugs:
    return plugs_of(load_plugins([policy]))


def thinned_engine(policy: str, num_blocks: int = 40, *, steady: bool = False, **options: object) -> Engine:
    """An engine on the bundled model in float32, asked by `policy`."""
    chosen = EngineOptions(dtype="float32", invariant=steady, **{"block_size": 4, **options})  # type: ignore[arg-type]
    weights = invariant(decoder()) if steady else decoder()
    asked = plugs(policy)
    pool = KVPool(weights.config, num_blocks, chosen.block_size)
    executor = TorchExecutor(weights, pool, chosen.seed, plugs=asked)
    return Engine(executor, limits_of(weights.config), num_blocks, chosen, plugs=asked)


@cache
def reference() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32, attn_implementation="eager").eval()


@torch.inference_mode()
def under_mask(tokens: Sequence[int], drops: Drops, size: int) -> tuple[Tensor, Tensor]:
    """transformers' logits [tokens, vocab], and attention [tokens, tokens] summed over layers and heads."""
    count = len(tokens)
    at = torch.arange(count)
    seen = at <= at[:, None]
    for index, first in drops.items():
        seen[first:, index * size : (index + 1) * size] = False
    mask = torch.zeros(count, count).masked_fill(~seen, torch.finfo(torch.float32).min)
    out = reference()(
        torch.tensor([list(tokens)]), attention_mask=mask[None, None], output_attentions=True, use_cache=False
    )
    attention = torch.stack(out.attentions)[:, 0].sum((0, 1))
    return out.logits[0], attention


def run_one(engine: Engine, count: int = 40) -> tuple[dict[int, np.ndarray], list[ev.Event]]:
    """The logits that chose each token of a request on `TEXT`, by position, and what its steps said."""
    engine.submit(greedy(TEXT, count))
    chosen: dict[int, np.ndarray] = {}
    said: list[ev.Event] = []
    while (step := engine.step()) is not None:
        said += step.results
        for about, row in zip(step.details(), step.details.logits if step.details() else (), strict=True):
            chosen[about.position] = row.copy()
    return chosen, said


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("steady", [False, True], ids=["fast", "invariant"])
def test_logits_are_those_of_transformers_under_the_same_mask(policy: str, steady: bool) -> None:
    engine = thinned_engine(policy, steady=steady, token_budget=10)
    logits, said = run_one(engine)
    assert any(isinstance(event, ev.Dropped) for event in said)
    tokens = list(engine.tokens.tokens_of("1"))
    expected, _ = under_mask(tokens, engine.tokens.drops.at("1", len(tokens) - 1), 4)
    full, _ = under_mask(tokens, {}, 4)
    assert set(logits) == set(range(len(TEXT), len(tokens)))
    for position, row in logits.items():
        torch.testing.assert_close(torch.tensor(row), expected[position - 1], atol=1e-3, rtol=1e-4)
    assert max((full - expected).abs().flatten()) > 0.1, "nothing that was dropped mattered"


@pytest.mark.parametrize("size", [1, 4])
def test_the_kept_set_of_h2o_is_that_of_the_attention_itself(size: int) -> None:
    """Scores from transformers' own attention, and the rule of the paper written down once more."""
    heavy, recent = 8, 6
    engine = thinned_engine(f"h2o=heavy:{heavy},recent:{recent}", 64, block_size=size)
    _, said = run_one(engine)
    tokens = list(engine.tokens.tokens_of("1"))
    drops = engine.tokens.drops.at("1", len(tokens) - 1)
    _, attention = under_mask(tokens, drops, size)
    weighed = [event for event in said if isinstance(event, ev.Weighed)]
    dropped = {event.position: event for event in said if isinstance(event, ev.Dropped)}
    for event in weighed:
        of_block = attention[event.start : event.start + event.rows].sum(0)
        for index, weight in zip(event.indexes, event.weights, strict=True):
            assert weight == pytest.approx(float(of_block[index * size : (index + 1) * size].sum()), abs=1e-3)
        computed = event.start + event.rows
        gone = choose_gone(attention, computed, size, heavy, recent, drops)
        assert gone == set(dropped[computed].indexes if computed in dropped else ())


def choose_gone(
    attention: Tensor, computed: int, size: int, heavy: int, recent: int, drops: Mapping[int, int]
) -> set[int]:
    """Which blocks go once `computed` positions are: all but the recent ones and the most attended ones."""
    mass = attention[:computed].sum(0)
    old = [
        index for index in range(computed // size)
        if drops.get(index, computed) >= computed and all(p < computed + 1 - recent for p in at(index, size))
    ]  # fmt: skip
    heaviest = sorted(old, key=lambda index: float(mass[list(at(index, size))].sum()), reverse=True)
    return set(heaviest[-(-heavy // size) :])


def at(index: int, size: int) -> range:
    return range(index * size, (index + 1) * size)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_row_that_is_looked_at_again_reads_what_it_read(policy: str) -> None:
    """While the request lives, when it is over, and through rows whose blocks were dropped after them."""
    engine = thinned_engine(policy)
    engine.submit(greedy(TEXT, 40))
    chosen: dict[int, np.ndarray] = {}
    while (step := engine.step()) is not None:
        for about, row in zip(step.details(), step.details.logits, strict=True):
            chosen[about.position] = row.copy()
        if engine.state.step in (2, 11, 30):
            assert_looks_as_it_was(engine, chosen)
    assert_looks_as_it_was(engine, chosen)


def assert_looks_as_it_was(engine: Engine, chosen: Mapping[int, np.ndarray]) -> None:
    drops = engine.tokens.drops.at("1", max(chosen))
    for position, logits in list(chosen.items())[::4]:
        found = engine.inspect(Inspect("1", position - 1, rows=3))
        assert np.abs(np.frombuffer(found.logits, np.float32) - logits).max() < 1e-3
        assert found.check < 1e-4
        row = np.frombuffer(found.row, np.float32).reshape(found.layers, found.heads, found.kv)
        blind = [p for i, first in drops.items() if first <= position - 1 for p in at(i, 4)]
        assert not row[..., blind].any()
        assert row.sum(-1) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("policy", ["sinks=window:9,sinks:3", "h2o=heavy:8,recent:6"])
def test_a_rewound_run_drops_the_same(seed: int, exact: bool, policy: str) -> None:
    import random

    rng = random.Random(seed)
    watched = Watched(18, block_size=4, token_budget=20, max_running=5)
    asked = plugs(policy)
    watched.engine.plugs = asked
    executor = watched.engine.executor
    assert isinstance(executor, TorchExecutor)
    executor.plugs = asked
    for each in workload(rng):
        watched.engine.submit(each)
    watched.run()
    assert watched.engine.state.totals.dropped_tokens > 0
    first, hashes = watched.tokens(), watched.hashes[0]
    for _ in range(3):
        step = rng.randrange(max(event.step for event in watched.timeline._said if event.branch == 0))
        branch = watched.engine.rewind(step, 0, exact=exact).branch
        watched.engine.state.check_invariants()
        watched.run()
        check_again(watched, branch, first, hashes, exact=exact)


def test_a_batch_of_thinned_and_whole_requests_is_computed_as_each_alone() -> None:
    """Decodes that lost blocks stand beside decodes and chunks that lost none."""
    alone = {}
    for count in (24, 9, 17):
        engine = thinned_engine("sinks=window:12,sinks:4")
        engine.submit(greedy(TEXT[:count], 20))
        engine.run()
        alone[count] = list(engine.tokens.tokens_of("1"))
    engine = thinned_engine("sinks=window:12,sinks:4", 64, prefix_cache=False)
    for count in alone:
        engine.submit(greedy(TEXT[:count], 20))
    engine.run()
    assert [list(engine.tokens.tokens_of(str(i + 1))) for i in range(3)] == list(alone.values())


@pytest.mark.parametrize("policy", ["sinks=window:128,sinks:4", "h2o=heavy:64,recent:64"])
def test_memory_stays_as_promised_over_4096_tokens(policy: str, tmp_path: Path) -> None:
    """In a pool of exactly the promised size, with the blocks that tables hold counted after every step."""
    save_model(
        tmp_path, "llama", max_position_embeddings=8192, num_hidden_layers=1, hidden_size=16,
        intermediate_size=16, num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    promised = 1 + -(-127 // 16) + 1 if policy.startswith("sinks") else 64 // 16 + -(-63 // 16) + 1
    options = EngineOptions(dtype="float32", block_size=16, kv_blocks=promised)
    engine = load(tmp_path, options, plugs=plugs(policy))
    engine.submit(greedy([1, 5, 9], 4096))
    most = 0
    while engine.step() is not None:
        most = max(most, engine.state.blocks.owned)
    assert len(engine.tokens.tokens_of("1")) == 3 + 4096
    assert most <= promised
    assert engine.state.totals.preemptions == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_a_recorded_run_is_marked_and_replays(policy: str, tmp_path: Path) -> None:
    path = tmp_path / "run.wbs"
    ran = run("record", "--prompt", "def f(x):\n    return x", "--max-tokens", 40, "--block-size", 4,
              "--plugin", policy, "-o", path)  # fmt: skip
    assert ran.code == 0, ran.err
    assert run("replay", path).code == 0
    shown = run("sessions", "show", path)
    assert "output may differ" in shown.out
    assert "output may differ" in ran.err


def test_the_cost_is_the_divergence_from_the_whole_cache(tmp_path: Path) -> None:
    """Position by position, from transformers' logits under both masks."""
    path = tmp_path / "run.wbs"
    ran = run("record", "--prompt", "def f(x):\n    return x", "--max-tokens", 30, "--block-size", 4,
              "--plugin", "sinks=window:9,sinks:3", "--token-budget", 6, "-o", path)  # fmt: skip
    assert ran.code == 0, ran.err
    (found,) = json.loads(run("kv-cost", path, "--json").out)["requests"]
    with Session.open(path) as session:
        log = session.past(session.last_step()).tokens
    tokens = list(log.tokens_of("1"))
    thinned, _ = under_mask(tokens, log.drops.at("1", len(tokens) - 1), 4)
    whole, _ = under_mask(tokens, {}, 4)
    assert [each["position"] for each in found["positions"]] == list(
        range(log.prompt_tokens_of("1"), len(tokens))
    )
    for each in found["positions"]:
        p, q = (rows[each["position"] - 1].double().log_softmax(-1) for rows in (whole, thinned))
        assert each["kl"] == pytest.approx(float((p.exp() * (p - q)).sum()), abs=1e-5)
    assert found["kl_max"] > 0.01
    assert found["off_record"] < 1e-3
    printed = run("kv-cost", path)
    assert "KL from the whole cache" in printed.out


def test_a_run_without_a_policy_has_no_cost(tmp_path: Path) -> None:
    path = tmp_path / "run.wbs"
    assert run("record", "--prompt", "def", "--max-tokens", 2, "-o", path).code == 0
    refused = run("kv-cost", path)
    assert refused.code == 2
    assert "it ran without a KV policy, and nothing was dropped" in refused.err
