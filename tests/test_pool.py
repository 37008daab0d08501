"""The pool gives back what was written, block by block, and never what nobody wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.kv.pool import KVPool
from engine.model.attention import attend, mix, scores
from engine.model.batch import SMALL_READ_TOKENS, Batch, Span, span_slots
from engine.model.config import ModelConfig, read_config
from engine.model.reads import PIECE_ROWS, WHOLE_FROM
from engine.model.weights import load_decoder
from tests.tiny_models import Paged, save_model, token_ids


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, "llama")
    return folder


@pytest.fixture
def config(folder: Path) -> ModelConfig:
    return read_config(folder)


def test_what_is_written_to_slots_is_gathered_from_them(config: ModelConfig) -> None:
    pool = KVPool(config, num_blocks=4, block_size=3)
    kv = torch.randn(5, 2, config.kv_heads, config.head_dim)
    slots = torch.tensor([11, 0, 7, 3, 4])

    pool.write(1, slots, kv)

    assert torch.equal(pool.gather(1, slots), kv)
    assert torch.equal(pool.gather(1, slots.flip(0)), kv.flip(0))
    assert torch.count_nonzero(pool.layers[0]) == 0


def test_a_block_is_copied_up_to_a_length_in_every_layer(config: ModelConfig) -> None:
    pool = KVPool(config, num_blocks=4, block_size=4)
    for layer in pool.layers:
        layer.normal_()
    before = [layer.clone() for layer in pool.layers]

    pool.copy_block(source=1, target=3, tokens=3)

    for layer, old in zip(pool.layers, before, strict=True):
        assert torch.equal(layer[12:15], old[4:7])
        assert torch.equal(layer[15], old[15])
        assert torch.equal(layer[:12], old[:12])


def test_the_pool_takes_the_memory_that_the_config_says(config: ModelConfig) -> None:
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        pool = KVPool(config, num_blocks=5, block_size=3, dtype=dtype)
        assert pool.num_slots == 15
        assert pool.bytes_per_token == config.kv_bytes_per_token(name)


def test_slots_follow_the_block_table() -> None:
    span = Span("a", start=2, tokens=5, blocks=[7, 0, 3, 9])
    batch = Batch.build([span], [1] * 5, block_size=3)

    assert span_slots(span, 3).tolist() == [21, 22, 23, 0, 1, 2, 9]
    assert batch.write_slots.tolist() == [23, 0, 1, 2, 9]
    assert batch.positions.tolist() == [2, 3, 4, 5, 6]


def test_a_decode_reads_only_slots_of_its_own_requests() -> None:
    """Shorter sequences are padded with their own slots: what nobody owns may hold anything."""
    tables = {"a": [5], "b": [1, 8, 2], "c": [4, 6]}
    spans = [Span("a", 1, 1, tables["a"]), Span("b", 7, 1, tables["b"]), Span("c", 3, 1, tables["c"])]
    for window in (None, 3):
        (read,) = Batch.build(spans, [1, 2, 3], block_size=3).reads(window, torch.float32)
        for span, slots in zip(spans, read.slots.tolist(), strict=True):
            assert set(slots) <= set(span_slots(span, 3).tolist())


def test_decodes_of_very_different_lengths_are_not_padded_to_the_longest() -> None:
    ends = [9, 400, 30, 1500, 700, 2000, 250]
    spans = [Span(str(end), end - 1, 1, range(end // 16 + 1)) for end in ends]
    reads = Batch.build(spans, [1] * len(spans), block_size=16).reads(None, torch.float32)

    rows = [torch.as_tensor(read.rows).tolist() for read in reads]
    assert sorted(row for group in rows for row in group) == list(range(len(spans)))
    for read, group in zip(reads, rows, strict=True):
        longest = read.slots.shape[1]
        assert longest == max(ends[row] for row in group)
        assert all(longest <= max(2 * ends[row], SMALL_READ_TOKENS) for row in group)


def test_a_decode_of_equal_lengths_needs_no_mask() -> None:
    spans = [Span("a", 4, 1, [0, 1]), Span("b", 4, 1, [2, 3])]
    (read,) = Batch.build(spans, [1, 2], block_size=3).reads(None, torch.float32)
    assert read.mask is None


@pytest.mark.parametrize("start", [0, 7])
@pytest.mark.parametrize("window", [None, 150])
@pytest.mark.parametrize("tokens", [2, PIECE_ROWS, PIECE_ROWS + 1, 3 * PIECE_ROWS - 1, WHOLE_FROM])
def test_a_prefill_in_pieces_attends_to_what_its_rows_may_look_at(
    config: ModelConfig, start: int, window: int | None, tokens: int
) -> None:
    end = start + tokens
    pool = KVPool(config, -(-end // 16), 16)
    pool.layers[0].normal_(generator=torch.Generator().manual_seed(tokens))
    q = torch.randn(1 + tokens, config.heads, config.head_dim, generator=torch.Generator().manual_seed(end))
    one = Span("b", 0, 1, [0])
    batch = Batch.build([one, Span("a", start, tokens, range(pool.num_blocks))], [1] * len(q), 16)

    found = attend(q, pool, 0, batch, window)[1:]

    key, value = pool.layers[0][:end].unbind(1)
    weights = scores(q[1:], key, torch.arange(start, end), torch.arange(end), window).softmax(-1)
    torch.testing.assert_close(found, mix(weights, value), atol=1e-5, rtol=1e-5)


def test_a_piece_of_a_prefill_reads_no_key_that_only_later_rows_see() -> None:
    reads = Batch.build([Span("a", 0, 500, range(32))], [1] * 500, 16).reads(None, torch.float32)
    assert [read.slots.shape[1] for read in reads] == [PIECE_ROWS, 2 * PIECE_ROWS, 500]


def test_the_tensors_hold_the_keys_and_values_of_a_dense_run(folder: Path) -> None:
    """K and V in the slots that the table names, whatever the chunks, are those of one pass in order."""
    decoder = load_decoder(folder)
    ids = token_ids(23)
    scattered, dense = Paged(decoder, block_size=3), Paged(decoder, block_size=32)
    a, b = scattered.request("a", ids), dense.request("b", ids)
    scattered.prefill(a, [4, 9, 1, 1, 8])
    dense.step((b, 23))

    for layer in range(decoder.config.layers):
        found = scattered.pool.gather(layer, span_slots(Span("a", 0, 23, a.blocks), 3))
        expected = dense.pool.gather(layer, span_slots(Span("b", 0, 23, b.blocks), 32))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
