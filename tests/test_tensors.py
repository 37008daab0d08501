"""What bookkeeping says is in a slot is what the tensors hold; failures and unowned slots never leak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine import keyframe
from engine.engine import Engine, StepFailedError
from engine.executor import TorchExecutor
from engine.inspection import InspectionError
from engine.kv.pool import KVPool
from engine.load import load
from engine.model.batch import Batch, Span
from engine.model.decoder import run
from engine.params import EngineOptions
from engine.protocol import Inspect, Inspection
from tests.bundled import bundled_engine, decoder, executor_of, greedy, run_all
from tests.tiny_models import save_model, token_ids

PROMPT = [301, 77, 912, 45, 45, 1333, 8, 260, 301, 77, 912, 2024, 99, 14, 555, 301, 77, 912, 45, 600]
SETUP: dict[str, object] = {"block_size": 4, "token_budget": 12, "max_running": 8}


def dense(tokens: list[int]) -> tuple[list[torch.Tensor], torch.Tensor]:
    """K and V of every layer `[tokens, 2, kv_heads, head_dim]`, and logits of the last row, from one forward."""
    pool = KVPool(decoder().config, 1, len(tokens))
    with torch.inference_mode():
        logits = run(decoder().stages(Batch.build([Span("", 0, len(tokens), [0])], tokens, len(tokens)), pool))
    return pool.layers, logits[-1]


def check_slots(engine: Engine) -> int:
    """Compare the slot of every computed position of every live request with a dense recomputation."""
    checked = 0
    size = engine.options.block_size
    for request in engine.state.requests.values():
        if not request.computed:
            continue
        layers, _ = dense(list(engine.tokens.tokens_of(request.id))[: request.computed])
        slots = torch.tensor([request.table[p // size] * size + p % size for p in range(request.computed)])
        for mine, expected in zip(executor_of(engine).pool.layers, layers, strict=True):
            torch.testing.assert_close(mine[slots], expected, atol=1e-4, rtol=1e-4)
        checked += request.computed
    return checked


def check_cache(engine: Engine) -> int:
    """The same for every block of the radix tree, along each path from the root."""
    checked = 0
    tree, size = engine.state.tree, engine.options.block_size
    for node in tree.nodes.values():
        path = [block for above in reversed(list(tree.path(node.id))) for block in above.blocks]
        if not path or node.children:
            continue
        writer_tokens = [token for block in path for token in _tokens_in(engine, block)]
        layers, _ = dense(writer_tokens)
        slots = torch.tensor([block * size + offset for block in path for offset in range(size)])
        for mine, expected in zip(executor_of(engine).pool.layers, layers, strict=True):
            torch.testing.assert_close(mine[slots], expected, atol=1e-4, rtol=1e-4)
        checked += len(path)
    return checked


def _tokens_in(engine: Engine, block: int) -> list[int]:
    from engine.kv.prefix import tokens_in

    return list(tokens_in(engine.state, engine.tokens, block))


def workload(engine: Engine) -> None:
    engine.submit(greedy(PROMPT, 14, n=2))
    engine.submit(greedy([*PROMPT[:13], 5, 6], 12))
    engine.submit(greedy([9, 9, 9], 10))


def test_slots_hold_what_the_tables_name() -> None:
    """With sharing, copies, preemption and eviction, at every step."""
    engine = bundled_engine(16, **SETUP)
    workload(engine)
    checked = 0
    while engine.step() is not None:
        checked += check_slots(engine) + check_cache(engine)
    assert checked > 500
    assert engine.state.totals.preemptions > 0
    assert engine.state.totals.evicted_blocks > 0


def test_a_slot_of_no_owner_never_reaches_a_logit() -> None:
    """Free blocks, and the unwritten rest of partly filled ones, are NaN before every step."""

    class Poisoned(TorchExecutor):
        engine: Engine

        def execute(self, job):  # type: ignore[no-untyped-def]
            blocks = self.engine.state.blocks
            for block in range(blocks.num_blocks):
                first = block * blocks.block_size + blocks.fill[block]
                for layer in self.pool.layers:
                    layer[first : (block + 1) * blocks.block_size] = float("nan")
            return super().execute(job)

    clean = bundled_engine(16, **SETUP)
    workload(clean)
    clean.run()
    poisoned = bundled_engine(16, Poisoned, **SETUP)
    executor = poisoned._executor
    assert isinstance(executor, Poisoned)
    executor.engine = poisoned
    workload(poisoned)
    poisoned.run()
    assert keyframe.pack(poisoned.state).keys() == keyframe.pack(clean.state).keys()
    for request in ("1.0", "1.1", "2", "3"):
        assert list(poisoned.tokens.tokens_of(request)) == list(clean.tokens.tokens_of(request))


STAGES = ["embed", "q", "k_rot", "attn_out", "mlp_out", "resid_post", "final_norm", "logits"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_step_that_raises_leaves_no_false_hit(stage: str) -> None:
    """The forward fails half way, having overwritten KV with NaN; afterwards every slot is right again."""
    expected = bundled_engine(24, **SETUP)
    workload(expected)
    expected.run()
    engine = bundled_engine(24, _failing(stage, {2, 5, 9}), **SETUP)
    workload(engine)
    failures = 0
    while engine.busy:
        try:
            engine.step()
        except StepFailedError:
            failures += 1
        engine.state.check_invariants()
        check_slots(engine)
        check_cache(engine)
    assert failures == 3
    for request in ("1.0", "1.1", "2", "3"):
        assert list(engine.tokens.tokens_of(request)) == list(expected.tokens.tokens_of(request))


def _failing(stage: str, executions: set[int]) -> type[TorchExecutor]:
    """An executor whose given executions spoil the slots they own and raise at `stage` of the middle layer."""

    class Failing(TorchExecutor):
        count = 0

        def execute(self, job):  # type: ignore[no-untyped-def]
            self.count += 1
            if self.count not in executions:
                return super().execute(job)
            batch = self.batch_of(job)
            with torch.inference_mode():
                for layer, name, _ in self.decoder.stages(batch, self.pool):
                    if name == stage and layer in (-1, 3):
                        for tensor in self.pool.layers:
                            tensor[batch.write_slots] = float("nan")
                        raise RuntimeError(f"injected at {stage}")
            raise AssertionError("no such stage")

    return Failing


def test_requests_whose_keys_depend_on_the_prompts_length_share_none(tmp_path: Path) -> None:
    """Dynamic rope beyond the trained length: what another request cached, and inspection of it, stay apart."""
    dynamic = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10_000.0}
    save_model(tmp_path, "llama", rope_parameters=dynamic)
    options = EngineOptions(block_size=4, kv_blocks=64)
    warm, cold = load(tmp_path, options, lambda _: None), load(tmp_path, options, lambda _: None)
    warm.submit(greedy(token_ids(60), 20))
    warm.run()
    text = list(warm.tokens.tokens_of("1"))
    for engine in (warm, cold):
        engine.state.next_request = 2
        engine.submit(greedy(text[:76], 12))
        engine.run()
    assert list(warm.tokens.tokens_of("2")) == list(cold.tokens.tokens_of("2"))
    answer = inspected(warm, request="2", position=78)
    expected = inspected(cold, request="2", position=78)
    assert (answer.reused, answer.prefilled) == (0, 78)
    np.testing.assert_allclose(
        np.frombuffer(answer.logits, np.float32), np.frombuffer(expected.logits, np.float32)
    )


# -- inspection ------------------------------------------------------------------------------------------


def inspected(engine: Engine, **fields: int | str) -> Inspection:
    return engine.inspect(Inspect(**fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("position", [0, 7, 19, 25])
@pytest.mark.parametrize("when", ["live", "finished", "evicted"])
def test_inspection_agrees_with_a_dense_forward(position: int, when: str) -> None:
    engine = bundled_engine(24, **SETUP)
    engine.submit(greedy(PROMPT, 12))
    engine.run(9 if when == "live" else None)
    if when == "evicted":
        engine.submit(greedy(list(range(100, 186)), 10))
        engine.run()
    before = keyframe.pack(engine.state), [layer.clone() for layer in executor_of(engine).pool.layers]
    answer = inspected(engine, request="1", position=position, rows=4, layer=2, head=1)
    tokens = list(engine.tokens.tokens_of("1"))[: position + 1]
    _, logits = dense(tokens)
    np.testing.assert_allclose(np.frombuffer(answer.logits, np.float32), logits.numpy(), atol=1e-4)
    row = np.frombuffer(answer.row, np.float32).reshape(answer.layers, answer.heads, answer.kv)
    np.testing.assert_allclose(row.sum(-1), 1, atol=1e-5)
    focus = np.frombuffer(answer.focus, np.float32).reshape(answer.rows, answer.kv)
    np.testing.assert_allclose(focus[-1], row[2, 1])
    assert answer.check < 1e-4
    assert answer.reused + answer.prefilled == position + 1 - answer.rows
    assert (answer.reused == 0) == (when == "evicted" or position < 4)
    assert keyframe.pack(engine.state) == before[0]
    assert all(map(torch.equal, executor_of(engine).pool.layers, before[1]))


def test_inspecting_changes_no_token() -> None:
    """Probes on or off: the same run."""
    plain = run_all(bundled_engine(24, **SETUP), [greedy(PROMPT, 12), greedy(PROMPT[:9], 12)])
    engine = bundled_engine(24, **SETUP)
    engine.submit(greedy(PROMPT, 12))
    engine.submit(greedy(PROMPT[:9], 12))
    while engine.step() is not None:
        inspected(engine, request="1", position=engine.state.step % 20, rows=3)
    for request, output in plain.outputs.items():
        assert list(engine.tokens.tokens_of(request))[-12:] == output


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"request": "1", "position": 0, "grid": 0}, "grid is 0: it must be between 1 and 64"),
        ({"request": "1", "position": 0, "grid": 65}, "grid is 65"),
        ({"request": "9", "position": 0}, "there is no request 9"),
        ({"request": "1", "position": 99}, "request 1 has no position 99: it has"),
        ({"request": "1", "position": 0, "layer": 9}, "there is no layer 9 head 0"),
    ],
)
def test_a_row_that_does_not_exist_is_one_line(fields: dict[str, int | str], message: str) -> None:
    engine = bundled_engine(8, **SETUP)
    engine.submit(greedy([5, 6, 7], 2))
    with pytest.raises(InspectionError, match=message):
        inspected(engine, **fields)
