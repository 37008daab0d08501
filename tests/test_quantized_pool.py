"""Keys and values in eight and four bits: what rounding costs, and that such a pool is a pool like any other."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.engine import Engine
from engine.executor import TorchExecutor
from engine.kv.pool import KVPool
from engine.load import limits_of
from engine.model.batch import Batch, Span
from engine.model.decoder import run
from engine.params import EngineOptions
from plugins.quantization.kv_pool import SMALLEST_SCALE, Bits, QuantizedKVPool
from tests.bundled import decoder, greedy, run_all
from tests.quantized import held_out

BLOCK = 4
BOTH = pytest.mark.parametrize("bits", [8, 4])


def pool_of(bits: Bits, blocks: int = 8, block_size: int = BLOCK) -> QuantizedKVPool:
    return QuantizedKVPool(decoder().config, blocks, block_size, torch.float32, bits)


def kv(tokens: int, seed: int = 0) -> torch.Tensor:
    config = decoder().config
    shape = (tokens, 2, config.kv_heads, config.head_dim)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=32, max_size=32),
    st.sampled_from([8, 4]),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
@settings(deadline=None, max_examples=100)
def test_a_value_is_off_by_half_a_step_of_its_head_at_most(
    head: list[float], bits: Bits, dtype: torch.dtype
) -> None:
    """But for what the type of scales and values rounds away."""
    pool = QuantizedKVPool(decoder().config, 8, BLOCK, dtype, bits)
    value = torch.tensor(head).to(dtype)
    pool.write(0, torch.tensor([5]), value.expand(1, 2, decoder().config.kv_heads, -1))
    value = value.float()
    step = value.abs().max() / 127 if bits == 8 else (value.max() - value.min()) / 15
    off = (pool.gather(0, torch.tensor([5]))[0].float() - value).abs().max()
    step = max(float(step), SMALLEST_SCALE, torch.finfo(dtype).smallest_normal)

    assert float(off) <= step / 2 + float(value.abs().max()) * 2 * torch.finfo(dtype).eps


@BOTH
def test_a_head_does_not_see_what_is_written_beside_it(bits: Bits) -> None:
    one, both = pool_of(bits), pool_of(bits)
    loud = kv(2)
    loud[1] *= 1000
    one.write(3, torch.tensor([6]), loud[:1])
    both.write(3, torch.tensor([6, 7]), loud)

    assert torch.equal(one.gather(3, torch.tensor([6])), both.gather(3, torch.tensor([6])))


@BOTH
def test_what_is_gathered_is_what_a_run_reads(bits: Bits) -> None:
    pool = pool_of(bits)
    pool.write(1, torch.arange(3, 9), kv(6))

    assert torch.equal(pool.gather(1, torch.arange(3, 9)), pool.read(1, slice(3, 9)))
    assert not pool.read(0, slice(3, 9)).any()


@BOTH
def test_a_copied_block_holds_the_same_values(bits: Bits) -> None:
    pool = pool_of(bits)
    for layer in range(decoder().config.layers):
        pool.write(layer, torch.arange(BLOCK), kv(BLOCK, layer))
    pool.copy_block(0, 5, 3)

    for layer in range(decoder().config.layers):
        copied = pool.read(layer, slice(5 * BLOCK, 6 * BLOCK))
        assert torch.equal(copied[:3], pool.read(layer, slice(0, 3)))
        assert not copied[3].any()


def test_fewer_bits_take_fewer_bytes() -> None:
    plain = KVPool(decoder().config, 8, BLOCK, torch.float32).bytes_per_token

    assert pool_of(8).bytes_per_token <= 0.29 * plain
    assert pool_of(4).bytes_per_token <= 0.19 * plain


@pytest.mark.parametrize(("bits", "off"), [(8, 0.01), (4, 0.15)])
def test_a_model_computes_nearly_the_same_over_it(bits: Bits, off: float) -> None:
    ids = held_out()[0][:96]
    batch = Batch.build([Span("a", 0, 96, list(range(6)), 96)], ids, 16)
    with torch.inference_mode():
        plain = run(decoder().stages(batch, KVPool(decoder().config, 6, 16)))
        fewer = run(decoder().stages(batch, pool_of(bits, 6, 16)))

    assert 0 < float((fewer - plain).norm() / plain.norm()) < off


def engine_over(bits: Bits, **options: object) -> Engine:
    chosen = EngineOptions(dtype="float32", block_size=BLOCK, **options)  # type: ignore[arg-type]
    made = TorchExecutor(decoder(), pool_of(bits, 24), chosen.seed)
    return Engine(made, limits_of(decoder().config), 24, chosen)


@BOTH
def test_tokens_do_not_depend_on_chunks_sharing_or_preemption(bits: Bits) -> None:
    """Each token is rounded on its own, so it is the same wherever and whenever it is written."""
    prompts = [held_out()[0][:9], held_out()[0][:6] + held_out()[1][:7], held_out()[2][:11]]
    alone = [run_all(engine_over(bits), [greedy(prompt, 12)]).outputs for prompt in prompts]
    together = run_all(engine_over(bits, token_budget=7, max_running=3), [greedy(p, 12) for p in prompts]).outputs

    assert list(together.values()) == [next(iter(outputs.values())) for outputs in alone]


def test_slots_may_be_written_in_any_order() -> None:
    pool, order = pool_of(4), random.Random(0).sample(range(32), 10)
    pool.write(2, torch.tensor(order), kv(10))
    one_by_one = pool_of(4)
    for slot, value in zip(order, kv(10), strict=True):
        one_by_one.write(2, torch.tensor([slot]), value[None])

    assert torch.equal(pool.layers[2], one_by_one.layers[2])
    assert torch.equal(pool.scales[2], one_by_one.scales[2])
