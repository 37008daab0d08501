"""A fault planted in one stage of one of two runs is found in that stage, and rounding is no fault."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine import events as ev
from engine.divergence import search
from engine.divergence_reference import ReferenceRun, reference_logits
from engine.divergence_result import KV, Divergence
from engine.execution import Job
from engine.executor import TorchExecutor
from engine.kv.pool import KVPool
from engine.model.decoder import Decoder
from engine.model.linear import Linear
from engine.model.norm import RMSNorm
from engine.model.reference import load_reference
from engine.model.rope import Rope
from engine.model.stage_names import OUTSIDE, points
from engine.model.weights import load_decoder
from tests.diverging import (
    BLOCK,
    BLOCKS,
    TABLE,
    Seen,
    choice,
    explicit_attention,
    gelu_instead_of_silu,
    jobs_of,
    missing_residual,
    part,
    rebuilt,
    with_fault,
    with_layer,
)
from tests.tiny_models import reference_logits as hf_logits
from tests.tiny_models import save_model, token_ids

IDS = token_ids(23)
ROW = len(IDS) - 1
WINDOW = 6
Families = dict[str, Decoder]


@pytest.fixture(scope="module")
def decoders(tmp_path_factory: pytest.TempPathFactory) -> Families:
    root = tmp_path_factory.mktemp("models")
    windowed = {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 0}
    wanted: dict[str, dict[str, object]] = {"llama": {}, "qwen2": windowed, "qwen3": {"head_dim": 8}}
    for family, settings in wanted.items():
        save_model(root / family, family, **settings)
    return {family: load_decoder(root / family) for family in wanted}


def found(right: Decoder, wrong: Decoder, chunk: int = 7) -> Divergence:
    jobs = jobs_of(IDS, chunk, decodes=5)
    return search(rebuilt(right, jobs, ROW), rebuilt(wrong, jobs, ROW))


def linear(weight: torch.Tensor, bias: torch.Tensor | None = None) -> Linear:
    return Linear(weight.contiguous(), bias)


def changed_weight(layer: Linear, change: Callable[[torch.Tensor], torch.Tensor]) -> Linear:
    """`layer` with its weight `[out, in]` changed."""
    assert layer.kernel == "plain"
    return linear(change(layer.weight.t().clone()), layer.bias)


# -- faults ----------------------------------------------------------------------------------------------


def wrong_rope_scale(right: Decoder) -> Decoder:
    config = dataclasses.replace(right.rope.config, type="linear", factor=1.1)
    return dataclasses.replace(right, rope=Rope(config, right.config.head_dim))


def swapped_heads(right: Decoder) -> Decoder:
    def swap(weight: torch.Tensor) -> torch.Tensor:
        size = right.config.head_dim
        weight[: 2 * size] = torch.cat((weight[size : 2 * size], weight[:size]))
        return weight

    return with_layer(right, 1, qkv=changed_weight(right.layers[1].qkv, swap))


def dropped_bias(right: Decoder) -> Decoder:
    qkv = right.layers[2].qkv
    assert qkv.bias is not None
    return with_layer(right, 2, qkv=linear(qkv.weight.t()))


def dropped_value_bias(right: Decoder) -> Decoder:
    qkv = right.layers[1].qkv
    assert qkv.bias is not None
    bias = qkv.bias.clone()
    bias[-right.config.kv_heads * right.config.head_dim :] = 0
    return with_layer(right, 1, qkv=linear(qkv.weight.t(), bias))


def wrong_norm_eps(right: Decoder) -> Decoder:
    return with_layer(right, 1, attn_norm=RMSNorm(right.layers[1].attn_norm.weight, 1e-3))


def wrong_mlp_norm(right: Decoder) -> Decoder:
    return with_layer(right, 0, mlp_norm=RMSNorm(right.layers[0].mlp_norm.weight + 0.01, 1e-6))


def wrong_q_norm(right: Decoder) -> Decoder:
    norm = right.layers[1].q_norm
    assert norm is not None
    return with_layer(right, 1, q_norm=RMSNorm(norm.weight.flip(0), 1e-6))


def wrong_k_norm(right: Decoder) -> Decoder:
    norm = right.layers[2].k_norm
    assert norm is not None
    return with_layer(right, 2, k_norm=RMSNorm(norm.weight * 1.001, 1e-6))


def transposed_output(right: Decoder) -> Decoder:
    o = changed_weight(right.layers[0].o, lambda weight: weight.flip(1))
    return with_layer(right, 0, o=o)


def swapped_gate_and_up(right: Decoder) -> Decoder:
    gate_up = changed_weight(right.layers[2].gate_up, lambda weight: weight.roll(len(weight) // 2, 0))
    return with_layer(right, 2, gate_up=gate_up)


def one_wrong_weight(right: Decoder) -> Decoder:
    def flip(weight: torch.Tensor) -> torch.Tensor:
        weight[5, 7] *= -1
        return weight

    return with_layer(right, 1, down=changed_weight(right.layers[1].down, flip))


def head_noise(right: Decoder) -> Decoder:
    torch.manual_seed(3)
    noisy = changed_weight(right.lm_head, lambda weight: weight + 1e-3 * torch.randn_like(weight))
    return dataclasses.replace(right, lm_head=noisy)


def one_head_row(right: Decoder) -> Decoder:
    def damage(weight: torch.Tensor) -> torch.Tensor:
        weight[11] += 0.001
        return weight

    return dataclasses.replace(right, lm_head=changed_weight(right.lm_head, damage))


def wrong_final_norm(right: Decoder) -> Decoder:
    return dataclasses.replace(right, final_norm=RMSNorm(right.final_norm.weight, 1.0))


def wrong_embedding(right: Decoder) -> Decoder:
    embed = right.embed.clone()
    embed[IDS[4]] *= 1.01
    return dataclasses.replace(right, embed=embed)


def attention(layer: int, **settings: object) -> Callable[[Decoder], Decoder]:
    def plant(right: Decoder) -> Decoder:
        def compute(seen: Seen, _right: torch.Tensor) -> torch.Tensor:
            return explicit_attention(seen, **settings)  # type: ignore[arg-type]

        return with_fault(right, layer, "attn_out", compute)

    return plant


FAULTS = [
    ("llama", wrong_rope_scale, 0, "q_rot"),
    ("llama", swapped_heads, 1, "q"),
    ("qwen2", dropped_bias, 2, "q"),
    ("qwen2", dropped_value_bias, 1, "v"),
    ("llama", wrong_norm_eps, 1, "attn_norm"),
    ("qwen3", wrong_mlp_norm, 0, "mlp_norm"),
    ("qwen3", wrong_q_norm, 1, "q"),
    ("qwen3", wrong_k_norm, 2, "k"),
    ("llama", attention(1, scale=1.05), 1, "attn_out"),
    ("llama", attention(2, transposed=True), 2, "attn_out"),
    ("qwen2", attention(1, window=WINDOW + 1), 1, "attn_out"),
    ("qwen2", attention(2, window=WINDOW - 1), 2, "attn_out"),
    ("llama", transposed_output, 0, "attn_proj"),
    ("llama", lambda right: with_fault(right, 1, "resid_mid", lambda seen, x: x - seen.x), 1, "resid_mid"),
    ("qwen2", swapped_gate_and_up, 2, "gate"),
    ("llama", lambda right: with_fault(right, 1, "mlp_out", gelu_instead_of_silu), 1, "mlp_out"),
    ("llama", one_wrong_weight, 1, "mlp_out"),
    ("qwen3", lambda right: with_fault(right, 0, "resid_post", missing_residual), 0, "resid_post"),
    ("llama", wrong_final_norm, OUTSIDE, "final_norm"),
    ("llama", head_noise, OUTSIDE, "logits"),
    ("qwen3", one_head_row, OUTSIDE, "logits"),
    ("llama", wrong_embedding, OUTSIDE, "embed"),
]


@pytest.mark.parametrize(("family", "plant", "layer", "stage"), FAULTS)
def test_a_planted_fault_is_found_in_its_stage(
    decoders: Families, family: str, plant: Callable[[Decoder], Decoder], layer: int, stage: str
) -> None:
    right = decoders[family]

    first = found(right, plant(right)).first

    assert first is not None
    assert (first.layer, first.stage) == (layer, stage)
    assert first.beyond_rounding


# -- a cache that does not hold what was computed ----------------------------------------------------------


def overwritten(jobs: list[Job]) -> list[Job]:
    """The same jobs, but before the last one another request writes over two slots of ours: positions 8 and 9."""
    stranger = Job((), [part("9", token_ids(30, seed=5), 0, 2, (TABLE[2],))], [])
    return [*jobs[:-1], stranger, jobs[-1]]


@pytest.mark.parametrize("run", ["a", "b"])
def test_a_stale_slot_is_found_in_the_cache_of_the_run_that_has_it(decoders: Families, run: str) -> None:
    right, jobs = decoders["llama"], jobs_of(IDS, 7, decodes=5)
    stale = overwritten(jobs)
    a, b = (stale, jobs) if run == "a" else (jobs, stale)
    runs = rebuilt(right, a, ROW), rebuilt(right, b, ROW)

    first = search(*runs).first

    assert first is not None
    assert (first.layer, first.stage, first.position, first.run) == (0, KV, 8, run)
    assert first.beyond_rounding
    written = runs["ab".index(run)].written(8)
    assert written is not None
    assert (written.request, written.position) == ("9", 0)


def test_a_missed_copy_is_found_in_the_cache(decoders: Families) -> None:
    """Two samples on one table: without the copy, what one writes the other reads."""
    right, prompt = decoders["qwen3"], token_ids(6)
    first, second = [*prompt, 5, 6, 7], [*prompt, 50, 60, 70]
    table, copied = (1, 2, 3), (1, 9, 4)

    def jobs(other: tuple[int, ...], copies: list[ev.Copied]) -> list[Job]:
        begun = Job((), [part("1", first, 0, 6, table)], [choice(0, "1", first, 6)])
        steps = [
            Job(
                copies if at == 6 else [],
                [part("1", first, at, 1, table), part("2", second, at, 1, other)],
                [choice(0, "1", first, at + 1), choice(1, "2", second, at + 1)],
            )
            for at in (6, 7, 8)
        ]
        return [begun, *steps]

    copy = ev.Copied(branch=0, step=2, request="2", index=1, source=2, block=9, tokens=2)
    healthy, faulty = jobs(copied, [copy]), jobs(table, [])

    blamed = search(rebuilt(right, healthy, 8), rebuilt(right, faulty, 8)).first

    assert blamed is not None
    assert (blamed.layer, blamed.stage, blamed.position, blamed.run) == (0, KV, 6, "b")


# -- rounding is no fault ----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize(("chunk", "others"), [(18, 0), (1, 0), (5, 7)])
def test_another_schedule_differs_by_rounding_only(
    decoders: Families, family: str, chunk: int, others: int
) -> None:
    alone = rebuilt(decoders[family], jobs_of(IDS, 7, decodes=5), ROW)
    other = rebuilt(decoders[family], jobs_of(IDS, chunk, 5, others), ROW)

    result = search(alone, other)

    assert not any(stage.beyond for stage in result.stages)
    assert result.first is None or not result.first.beyond_rounding
    assert result.position == ROW


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_another_type_differs_by_rounding_only(
    decoders: Families, tmp_path_factory: pytest.TempPathFactory, family: str, dtype: torch.dtype
) -> None:
    folder = tmp_path_factory.mktemp(f"{family}-like")
    save_model(folder, family)
    jobs = jobs_of(IDS, 7, decodes=5)

    result = search(rebuilt(load_decoder(folder), jobs, ROW), rebuilt(load_decoder(folder, dtype), jobs, ROW))

    assert not any(stage.beyond for stage in result.stages)
    assert result.first is not None
    assert (result.first.layer, result.first.stage) == (OUTSIDE, "embed")
    assert not result.first.beyond_rounding


@pytest.mark.parametrize("seed", range(6))
def test_no_random_model_and_schedule_is_blamed(seed: int, tmp_path: Path) -> None:
    """Whatever the size of the weights, whatever the batches: what differs is rounding."""
    choose = random.Random(seed)
    family, heads, head_dim = (
        choose.choice(["llama", "qwen2", "qwen3"]),
        choose.choice([4, 6]),
        choose.choice([8, 16]),
    )
    shape = {"hidden_size": heads * head_dim, "num_attention_heads": heads, "head_dim": head_dim}
    model = save_model(tmp_path, family, **shape)
    torch.manual_seed(seed)
    size = choose.choice([0.02, 0.1, 1.0])
    for parameter in model.parameters():
        vector = parameter.ndim == 1
        torch.nn.init.normal_(parameter, mean=1.0 if vector else 0.0, std=0.1 if vector else size)
    model.save_pretrained(tmp_path)
    ids = token_ids(30, seed)

    for dtypes in ((None, None), (None, torch.bfloat16), (torch.bfloat16, torch.bfloat16), (None, torch.float16)):
        runs = [
            rebuilt(
                load_decoder(tmp_path, dtype),
                jobs_of(ids, choose.choice([1, 9, 30]), 6, choose.choice([0, 3])),
                29,
            )
            for dtype in dtypes
        ]
        result = search(runs[0], runs[1])
        assert result.first is None or not result.first.beyond_rounding, (dtypes, result.first)


IN_TWO_BYTES = [
    fault for fault in FAULTS if fault[1] in (wrong_rope_scale, wrong_q_norm) or fault[3] == "resid_mid"
]


@pytest.mark.parametrize(
    ("family", "plant", "layer", "stage"),
    [
        *IN_TWO_BYTES,
        ("qwen3", attention(2, transposed=True), 2, "attn_out"),
        ("llama", lambda right: with_fault(right, 1, "mlp_out", gelu_instead_of_silu), 1, "mlp_out"),
    ],
)
def test_faults_are_found_in_two_bytes_too(
    family: str, plant: Callable[[Decoder], Decoder], layer: int, stage: str, tmp_path: Path
) -> None:
    save_model(tmp_path, family, head_dim=8)
    right = load_decoder(tmp_path, torch.bfloat16)

    first = found(right, plant(right)).first

    assert first is not None
    assert (first.layer, first.stage, first.beyond_rounding) == (layer, stage, True)


def test_equal_runs_have_no_first_stage(decoders: Families) -> None:
    result = found(decoders["llama"], decoders["llama"])

    assert result.first is None
    assert all(stage.max_abs == 0 and stage.own_max_abs == 0 for stage in result.stages)
    assert [(kv.layer, kv.max_abs) for kv in result.kv] == [(0, 0), (1, 0), (2, 0)]


def test_a_fault_is_found_though_the_types_differ(decoders: Families, tmp_path: Path) -> None:
    save_model(tmp_path, "llama")
    jobs = jobs_of(IDS, 7, decodes=5)
    wrong = with_fault(load_decoder(tmp_path, torch.bfloat16), 1, "mlp_out", gelu_instead_of_silu)

    first = search(rebuilt(decoders["llama"], jobs, ROW), rebuilt(wrong, jobs, ROW)).first

    assert first is not None
    assert (first.layer, first.stage, first.beyond_rounding) == (1, "mlp_out", True)


def test_what_a_stage_inherits_is_not_its_own(decoders: Families) -> None:
    """A fault in layer 0 moves everything after it, and only its own stage is above its floor."""
    result = found(decoders["llama"], transposed_output(decoders["llama"]))

    assert [(each.layer, each.stage) for each in result.stages if each.beyond] == [(0, "attn_proj")]
    assert all(each.rel > 1e-3 for each in result.stages if each.layer == 2)


def test_the_row_rebuilt_is_the_row_that_ran(decoders: Families) -> None:
    """Rebuilding a decode from its plans gives the logits of the run itself, bit for bit."""
    jobs = jobs_of(IDS, 7, decodes=5, others=2)
    decoder = decoders["qwen2"]
    executor = TorchExecutor(decoder, KVPool(decoder.config, BLOCKS, BLOCK), 0)
    logits = [executor.execute(job).details.logits for job in jobs][-1]
    assert logits is not None

    row = rebuilt(decoder, jobs, ROW, request="2").row(ROW)

    assert row.stages[OUTSIDE, "logits"].numpy().tobytes() == logits[1].tobytes()
    assert len(row.context) == 3
    assert all(len(layer) == ROW for layer in row.context)


# -- transformers as the other run -------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_ours_and_transformers_agree_at_every_stage(family: str, tmp_path: Path) -> None:
    save_model(tmp_path, family, tie_word_embeddings=family == "qwen3")
    ours = rebuilt(load_decoder(tmp_path), jobs_of(IDS, 7, decodes=5), ROW)

    result = search(ReferenceRun(load_reference(tmp_path), IDS), ours)

    assert [(each.layer, each.stage) for each in result.stages] == list(points(3))
    assert not any(each.beyond for each in result.stages)
    assert all(each.rel < 1e-4 for each in result.stages)
    assert all(each.rel < 1e-4 for each in result.kv)


@pytest.mark.parametrize(
    ("family", "plant", "layer", "stage"),
    [
        ("llama", wrong_rope_scale, 0, "q_rot"),
        ("qwen2", dropped_bias, 2, "q"),
        ("llama", attention(1, scale=1.05), 1, "attn_out"),
        ("qwen3", wrong_q_norm, 1, "q"),
        ("llama", head_noise, OUTSIDE, "logits"),
    ],
)
def test_a_fault_of_ours_is_found_against_transformers(
    family: str, plant: Callable[[Decoder], Decoder], layer: int, stage: str, tmp_path: Path
) -> None:
    save_model(tmp_path, family)
    ours = rebuilt(plant(load_decoder(tmp_path)), jobs_of(IDS, 7, decodes=5), ROW)

    first = search(ReferenceRun(load_reference(tmp_path), IDS), ours).first

    assert first is not None
    assert (first.layer, first.stage, first.beyond_rounding) == (layer, stage, True)


def test_logits_of_transformers_come_row_by_row(tmp_path: Path) -> None:
    model = save_model(tmp_path, "llama")

    rows = torch.stack(list(reference_logits(load_reference(tmp_path), IDS, 5)))

    torch.testing.assert_close(rows, hf_logits(model, IDS)[5:], atol=1e-4, rtol=1e-5)
