"""Stages can be read, replaced and paused at, and attention patterns explain what the kernel gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.model.decoder import run
from engine.model.reference import load_reference
from engine.model.stage_names import ATTENTION_STAGES, LAYER_STAGES, OUTSIDE, points
from engine.model.weights import load_decoder
from engine.observe import observe
from engine.probes import Intervention, PatternProbe, Probe, ProbeError
from tests.tiny_models import SHAPE, VOCAB, Paged, Request, save_model, token_ids

HEADS, KV_HEADS, LAYERS, HIDDEN = 6, 2, 3, 48
HEAD_DIM, INNER = 8, 80
WINDOW: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, "qwen2", **WINDOW)
    return folder


@pytest.fixture
def paged(folder: Path) -> Paged:
    return Paged(load_decoder(folder))


@pytest.fixture
def work(paged: Paged) -> list[tuple[Request, int]]:
    """A chunk of one request's prefill beside a decode of another's."""
    a, b = paged.request("a", token_ids(20)), paged.request("b", token_ids(30, seed=1))
    paged.step((a, 5), (b, 29))
    return [(a, 12), (b, 1)]


def same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_stages_come_in_their_order_and_with_their_shapes(paged: Paged, work: list[tuple[Request, int]]) -> None:
    with torch.inference_mode():
        seen = [
            (layer, stage, list(x.shape))
            for layer, stage, x in paged.decoder.stages(paged.batch(*work), paged.pool)
        ]

    assert [(layer, stage) for layer, stage, _ in seen] == list(points(LAYERS))
    shapes = {(layer, stage): shape for layer, stage, shape in seen}
    assert shapes[OUTSIDE, "embed"] == [13, HIDDEN]
    assert shapes[1, "q"] == shapes[1, "q_rot"] == shapes[1, "attn_out"] == [13, HEADS, HEAD_DIM]
    assert shapes[1, "k"] == shapes[1, "k_rot"] == shapes[1, "v"] == [13, KV_HEADS, HEAD_DIM]
    assert shapes[2, "gate"] == shapes[2, "up"] == [13, INNER]
    assert shapes[0, "resid_mid"] == shapes[0, "resid_post"] == shapes[0, "mlp_out"] == [13, HIDDEN]
    assert shapes[OUTSIDE, "final_norm"] == [13, HIDDEN]
    assert shapes[OUTSIDE, "logits"] == [13, VOCAB]


def test_probes_do_not_change_the_logits_by_a_bit(paged: Paged, work: list[tuple[Request, int]]) -> None:
    batch = paged.batch(*work)
    bare = observe(paged.decoder, batch, paged.pool).logits

    probes = [Probe(layer, stage) for layer, stage in points(LAYERS)]
    patterns = [PatternProbe(layer, "a") for layer in range(LAYERS)]
    probed = observe(paged.decoder, batch, paged.pool, probes, patterns)

    assert torch.equal(probed.logits, bare)
    assert set(probed.captured) == set(probes)
    assert probed.explicit == frozenset()


def test_captured_stages_add_up(paged: Paged, work: list[tuple[Request, int]]) -> None:
    stages = ("attn_proj", "resid_mid", "mlp_out", "resid_post", "q", "q_rot")
    probes = {(layer, stage): Probe(layer, stage) for layer in range(LAYERS) for stage in stages}
    found = observe(paged.decoder, paged.batch(*work), paged.pool, list(probes.values())).captured
    at = {point: found[probe] for point, probe in probes.items()}

    for layer in range(1, LAYERS):
        same(at[layer, "resid_mid"], at[layer - 1, "resid_post"] + at[layer, "attn_proj"])
        same(at[layer, "resid_post"], at[layer, "resid_mid"] + at[layer, "mlp_out"])
        same(at[layer, "q"].norm(dim=-1), at[layer, "q_rot"].norm(dim=-1))
        assert not torch.equal(at[layer, "q"], at[layer, "q_rot"])


def test_a_probe_of_one_request_sees_its_rows(paged: Paged, work: list[tuple[Request, int]]) -> None:
    everything, a, b = Probe(1, "mlp_norm"), Probe(1, "mlp_norm", "a"), Probe(1, "mlp_norm", "b")
    logits = Probe(OUTSIDE, "logits", "b")
    found = observe(paged.decoder, paged.batch(*work), paged.pool, [everything, a, b, logits])

    assert torch.equal(found.captured[everything], torch.cat((found.captured[a], found.captured[b])))
    assert len(found.captured[b]) == 1
    assert torch.equal(found.captured[logits], found.logits[12:])


@pytest.mark.parametrize("stage", LAYER_STAGES)
def test_every_stage_can_be_replaced(paged: Paged, work: list[tuple[Request, int]], stage: str) -> None:
    batch = paged.batch(*work)
    probe = Probe(1, stage)
    plain = observe(paged.decoder, batch, paged.pool, [probe])

    same_again = observe(paged.decoder, batch, paged.pool, [probe], (), [Intervention(1, stage, torch.clone)])
    doubled = observe(paged.decoder, batch, paged.pool, [probe], (), [Intervention(1, stage, lambda x: 2 * x)])

    assert torch.equal(same_again.logits, plain.logits)
    assert torch.equal(doubled.captured[probe], 2 * plain.captured[probe])
    assert not torch.allclose(doubled.logits, plain.logits)


@pytest.mark.parametrize("stage", ["k_rot", "v"])
def test_replaced_keys_and_values_are_what_the_pool_holds(paged: Paged, stage: str) -> None:
    request = paged.request("a", token_ids(6))
    observe(
        paged.decoder, paged.batch((request, 6)), paged.pool, (), (), [Intervention(2, stage, torch.zeros_like)]
    )

    held = paged.pool.gather(2, paged.batch((request, 6)).write_slots)[:, 0 if stage == "k_rot" else 1]

    assert torch.count_nonzero(held) == 0


def test_an_intervention_on_one_request_leaves_the_others_alone(
    paged: Paged, work: list[tuple[Request, int]]
) -> None:
    batch = paged.batch(*work)
    plain = observe(paged.decoder, batch, paged.pool).logits

    changed = observe(
        paged.decoder, batch, paged.pool, (), (), [Intervention(0, "mlp_out", torch.zeros_like, request="b")]
    ).logits

    same(changed[:12], plain[:12])
    assert not torch.allclose(changed[12:], plain[12:])


def test_logits_can_be_replaced(paged: Paged, work: list[tuple[Request, int]]) -> None:
    change = Intervention(OUTSIDE, "logits", torch.zeros_like, request="b")
    logits = observe(paged.decoder, paged.batch(*work), paged.pool, (), (), [change]).logits

    assert torch.count_nonzero(logits[:12]) > 0
    assert torch.count_nonzero(logits[12:]) == 0


def test_a_replacement_of_another_shape_is_refused(paged: Paged, work: list[tuple[Request, int]]) -> None:
    stages = paged.decoder.stages(paged.batch(*work), paged.pool)
    next(stages)
    with pytest.raises(ValueError, match=r"shape \[13, 48\] cannot be replaced by \[1, 48\]"):
        stages.send(torch.zeros(1, HIDDEN))


def test_a_paused_pass_goes_on_as_if_it_had_not_paused(paged: Paged, work: list[tuple[Request, int]]) -> None:
    batch = paged.batch(*work)
    with torch.inference_mode():
        expected = run(paged.decoder.stages(batch, paged.pool))
    stages = paged.decoder.stages(batch, paged.pool)

    with torch.inference_mode():
        for _ in range(20):
            next(stages)
    assert not torch.is_inference_mode_enabled()
    other = paged.request("other", token_ids(4))
    paged.step((other, 4))
    with torch.inference_mode():
        assert torch.equal(run(stages), expected)


def test_an_abandoned_pass_leaves_no_grad_mode_behind(paged: Paged, work: list[tuple[Request, int]]) -> None:
    with torch.inference_mode():
        stages = paged.decoder.stages(paged.batch(*work), paged.pool)
        next(stages)
    stages.close()
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_patterns_are_those_of_transformers(paged: Paged, folder: Path) -> None:
    ids = token_ids(20)
    expected = load_reference(folder, attention="eager").patterns(ids)
    request = paged.request("a", ids)
    paged.step((request, 8))
    probes = [PatternProbe(layer, "a") for layer in range(LAYERS)]

    found = observe(paged.decoder, paged.batch((request, 12)), paged.pool, (), probes).patterns

    for layer, probe in enumerate(probes):
        same(found[probe].pattern, expected[layer][:, 8:])
        assert found[probe].check < 1e-5


def test_a_pattern_of_some_heads_and_rows_is_that_part_of_the_whole(
    paged: Paged, work: list[tuple[Request, int]]
) -> None:
    whole, part = PatternProbe(2, "a"), PatternProbe(2, "a", heads=(5, 0), rows=(11, 3))
    decode = PatternProbe(2, "b", heads=(1,))

    found = observe(paged.decoder, paged.batch(*work), paged.pool, (), [whole, part, decode]).patterns

    assert found[part].pattern.shape == (2, 2, 17)
    same(found[part].pattern, found[whole].pattern[[5, 0]][:, [11, 3]])
    same(found[part].scores, found[whole].scores[[5, 0]][:, [11, 3]])
    assert found[decode].pattern.shape == (1, 1, 30)
    assert torch.count_nonzero(found[decode].pattern) == WINDOW["sliding_window"]
    assert found[decode].check < 1e-5


def test_the_check_shows_a_pattern_that_is_not_what_was_computed(
    paged: Paged, work: list[tuple[Request, int]]
) -> None:
    probe = PatternProbe(1, "a")
    change = Intervention(1, "attn_out", lambda x: x + 0.5, request="a")

    found = observe(paged.decoder, paged.batch(*work), paged.pool, (), [probe], [change]).patterns

    assert found[probe].check == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("stage", ATTENTION_STAGES)
def test_explicit_attention_gives_what_the_kernel_gives(
    paged: Paged, work: list[tuple[Request, int]], stage: str
) -> None:
    batch = paged.batch(*work)
    plain = observe(paged.decoder, batch, paged.pool)

    explicit = observe(paged.decoder, batch, paged.pool, (), (), [Intervention(1, stage, torch.clone)])

    torch.testing.assert_close(explicit.logits, plain.logits, atol=1e-4, rtol=1e-5)
    assert plain.explicit == frozenset()
    assert explicit.explicit == {1}


def test_a_head_that_looks_only_at_the_first_position_returns_its_value(
    paged: Paged, work: list[tuple[Request, int]]
) -> None:
    def first_only(pattern: Tensor) -> Tensor:
        pattern[3] = 0
        pattern[3, :, 0] = 1
        return pattern

    request, tokens = work[0]
    probe = Probe(0, "attn_out", "a")
    batch = paged.batch(*work)
    change = Intervention(0, "attn_pattern", first_only, request="a")
    found = observe(paged.decoder, batch, paged.pool, [probe], (), [change])
    plain = observe(paged.decoder, batch, paged.pool, [probe])

    first_slot = torch.tensor([request.blocks[0] * paged.pool.block_size])
    value = paged.pool.gather(0, first_slot)[0, 1, 3 // (HEADS // KV_HEADS)]
    same(found.captured[probe][:, 3], value.expand(tokens, -1))
    same(found.captured[probe][:, :3], plain.captured[probe][:, :3])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Probe(3, "q"), "layer 3 has no stage 'q'"),
        (Probe(0, "embed"), "layer 0 has no stage 'embed'"),
        (Probe(OUTSIDE, "q"), "layer -1 has no stage 'q'"),
        (Probe(0, "attn_pattern"), "ask for it with a PatternProbe"),
        (Probe(0, "q", "nobody"), "request 'nobody' is not in this batch"),
        (PatternProbe(0, "a", heads=(6,)), "head 6 does not exist: there are 6"),
        (PatternProbe(0, "b", rows=(1,)), "row 1 does not exist: there are 1"),
        (PatternProbe(-1, "a"), "layer -1 does not exist: there are 3"),
        (Intervention(0, "logits", torch.clone), "layer 0 has no stage 'logits'"),
    ],
)
def test_a_place_that_does_not_exist_is_refused(
    paged: Paged, work: list[tuple[Request, int]], asked: Any, message: str
) -> None:
    batch = paged.batch(*work)
    chosen = {Probe: "probes", PatternProbe: "patterns", Intervention: "interventions"}[type(asked)]
    with pytest.raises(ProbeError, match=message):
        observe(paged.decoder, batch, paged.pool, **{chosen: [asked]})


def test_the_shape_of_these_tests_is_the_shape_of_the_model() -> None:
    assert (SHAPE["num_attention_heads"], SHAPE["num_key_value_heads"]) == (HEADS, KV_HEADS)
    assert (SHAPE["num_hidden_layers"], SHAPE["hidden_size"]) == (LAYERS, HIDDEN)
