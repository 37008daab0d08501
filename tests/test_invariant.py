"""`--invariant`: a row's logits are the same bits, however the row came to be computed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.model import invariant, invariant_attention
from engine.model.attention import attend
from engine.model.batch import Batch
from engine.model.decoder import Decoder, run
from engine.model.invariant_attention import key_range
from engine.model.layer import Layer
from engine.model.linear import Linear
from engine.model.weights import load_decoder
from tests.tiny_models import CONTEXT, Paged, Request, reference_logits, save_model, token_ids

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
    "qwen3": {"head_dim": 24, "intermediate_size": 83},
    "mistral": {"sliding_window": 7, "num_key_value_heads": 6},
}
"""Grouped-query attention in all but the last; windows in some layers and in all; sizes 8 does not divide."""


@cache
def model(family: str, dtype: str, fast: bool = False) -> Decoder:
    folder = Path(mkdtemp(prefix="workbench-tests-"))
    save_model(folder, family, **MODELS[family])
    decoder = load_decoder(folder, DTYPES[dtype])
    return decoder if fast else invariant.invariant(decoder)


@cache
def alone(family: str, dtype: str, seed: int) -> Tensor:
    """The logits of CONTEXT tokens, each computed in a batch of its own: `[CONTEXT, vocab]`."""
    paged = Paged(model(family, dtype), block_size=16)
    return paged.prefill(paged.request("alone", token_ids(CONTEXT, seed)), [1] * CONTEXT)


def run_schedule(paged: Paged, requests: Sequence[Request], chooser: random.Random) -> dict[str, list[Tensor]]:
    """Random parts of random requests, together, until all are computed."""
    rows: dict[str, list[Tensor]] = {request.name: [] for request in requests}
    while left := [request for request in requests if request.computed < len(request.ids)]:
        together = chooser.sample(left, chooser.randint(1, len(left)))
        work = [(r, min(chooser.choice((1, 1, 2, 7, 16, 33, 64)), len(r.ids) - r.computed)) for r in together]
        for (request, _), logits in zip(work, paged.step(*work), strict=True):
            rows[request.name].append(logits)
    return rows


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", MODELS)
def test_a_row_has_the_same_bits_in_every_batch_chunk_and_place(family: str, dtype: str) -> None:
    @settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.integers(1, 8), st.sampled_from([1, 3, 16]), st.integers(0, 1000))
    def check(count: int, block_size: int, seed: int) -> None:
        paged = Paged(model(family, dtype), block_size)
        chooser = random.Random(seed)
        requests = [paged.request(str(n), token_ids(chooser.randint(1, CONTEXT), n)) for n in range(count)]
        for name, parts in run_schedule(paged, requests, chooser).items():
            found = torch.cat(parts)
            assert torch.equal(found, alone(family, dtype, int(name))[: len(found)]), name

    check()


def test_a_chunk_in_the_middle_of_a_prompt_needs_no_logits() -> None:
    paged, ids = Paged(model("llama", "float32"), block_size=16), token_ids(CONTEXT)
    request = paged.request("0", ids)
    for tokens, rows in ((40, 0), (CONTEXT - 40, 1)):
        batch = Batch.build([request.span(tokens, rows)], ids[request.computed :][:tokens], 16)
        with torch.inference_mode():
            found = run(paged.decoder.stages(batch, paged.pool))
        request.computed += tokens
        assert len(found) == rows
    assert torch.equal(found[0], alone("llama", "float32", 0)[-1])


def test_without_the_option_a_row_does_depend_on_its_batch() -> None:
    """Else the test above would hold nothing."""
    paged = Paged(model("llama", "float32", fast=True))
    ids = token_ids(CONTEXT)
    whole = paged.prefill(paged.request("whole", ids), [CONTEXT])
    alone_ = paged.prefill(paged.request("alone", ids), [1] * CONTEXT)
    assert not torch.equal(whole, alone_)


@pytest.mark.parametrize("family", MODELS)
def test_it_computes_what_transformers_computes(family: str, tmp_path: Path) -> None:
    reference = save_model(tmp_path, family, attn_implementation="eager", **MODELS[family])
    paged = Paged(invariant.invariant(load_decoder(tmp_path)))
    ids = token_ids(CONTEXT)
    found = paged.prefill(paged.request("0", ids), [30, 1, CONTEXT - 31])
    torch.testing.assert_close(found, reference_logits(reference, ids), rtol=1e-3, atol=1e-3)
    assert torch.equal(found.argmax(-1), reference_logits(reference, ids).argmax(-1))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_it_holds_for_every_number_of_threads(threads: int) -> None:
    """With shares so large that torch does split them: a row's end is then anywhere in a thread's share."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        gate, up = torch.randn(101, 1366).chunk(2, -1)
        linear = invariant.TiledProjection(Linear(torch.randn(683, 683)))
        for rows in (1, 7, 33, 101):
            assert torch.equal(
                invariant.gate_by_row(gate[:rows], up[:rows]), invariant.gate_by_row(gate, up)[:rows]
            )
            assert torch.equal(linear(gate[:rows]), linear(gate)[:rows])
    finally:
        torch.set_num_threads(before)


@given(st.integers(0, 100_000), st.sampled_from([None, 1, 7, 64, 4096]))
def test_a_range_of_keys_covers_what_the_row_may_look_at(position: int, window: int | None) -> None:
    keys = key_range(position, window)
    oldest = 0 if window is None else max(0, position - window + 1)
    assert keys.first <= oldest <= position < keys.first + keys.count
    assert keys.count <= 2 * max(invariant_attention.KEY_STEP, position + invariant_attention.KEY_STEP - oldest)


FAULTS: dict[str, Callable[[Layer], Layer]] = {
    "projection": lambda layer: replace(layer, qkv=layer.qkv.whole),  # type: ignore[attr-defined]
    "attention": lambda layer: replace(layer, ways=replace(layer.ways, attend=attend)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_part_left_as_it_was_is_noticed(fault: str) -> None:
    """Each alone, in the last layer, gives rows other bits."""
    decoder = model("llama", "float32")
    faulty = replace(decoder, layers=(*decoder.layers[:-1], FAULTS[fault](decoder.layers[-1])))
    rows = []
    for chunks in ([CONTEXT], [1] * CONTEXT):
        paged = Paged(faulty)
        rows.append(paged.prefill(paged.request("0", token_ids(CONTEXT)), chunks))
    assert not torch.equal(*rows)
