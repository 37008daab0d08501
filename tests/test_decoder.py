"""Our logits are transformers', whatever the model's options and however the work is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.model.batch import Batch, Span, span_slots
from engine.model.decoder import Decoder, run
from engine.model.weights import load_decoder
from tests.tiny_models import CONTEXT, VOCAB, Paged, chunks_of, reference_logits, save_model, token_ids


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-5)


YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 32}
UNTRUNCATED = {"beta_fast": 4.0, "beta_slow": 0.5, "truncate": False, "attention_factor": 1.3}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 32,
    "low_freq_factor": 1.0, "high_freq_factor": 4.0,
}  # fmt: skip

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama MHA": ("llama", {"num_key_value_heads": 6}),
    "llama GQA": ("llama", {}),
    "llama MQA": ("llama", {"num_key_value_heads": 1}),
    "llama tied": ("llama", {"tie_word_embeddings": True}),
    "llama biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama head_dim": ("llama", {"head_dim": 20}),
    "llama theta": ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 300.0}}),
    "llama linear": ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 300.0, "factor": 3.0}}),
    "llama llama3": ("llama", {"rope_parameters": LLAMA3, "head_dim": 16}),
    "llama yarn": ("llama", {"rope_parameters": YARN, "head_dim": 16}),
    "qwen2": ("qwen2", {}),
    "qwen2 tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen2 yarn": ("qwen2", {"head_dim": 16, "rope_parameters": YARN | UNTRUNCATED}),
    "mistral yarn": ("mistral", {"rope_parameters": YARN | {"mscale": 0.7, "mscale_all_dim": 1.3}}),
    "qwen2 window": ("qwen2", {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "qwen3 bias": ("qwen3", {"head_dim": 10, "attention_bias": True, "tie_word_embeddings": True}),
    "qwen3 layer types": (
        "qwen3",
        {
            "head_dim": 8, "use_sliding_window": True, "sliding_window": 5,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "mistral window": ("mistral", {"sliding_window": 6}),
    "mistral window 1": ("mistral", {"sliding_window": 1}),
    "mistral full": ("mistral", {"sliding_window": None, "head_dim": 12}),
}  # fmt: skip


class Pair:
    """The same model twice: transformers' and ours."""

    def __init__(self, folder: Path, family: str, settings: dict[str, Any]) -> None:
        self.theirs = save_model(folder, family, **settings)
        self.ours: Decoder = load_decoder(folder)


@pytest.fixture(scope="session", params=MODELS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    family, settings = MODELS[request.param]
    return Pair(tmp_path_factory.mktemp("model"), family, settings)


@pytest.mark.parametrize("block_size", [1, 3, 16])
def test_prefill_and_decode_give_the_logits_of_transformers(pair: Pair, block_size: int) -> None:
    ids = token_ids(45)
    expected = reference_logits(pair.theirs, ids)
    assert expected.abs().max() > 1
    paged = Paged(pair.ours, block_size)
    request = paged.request("a", ids)

    prefill = paged.step((request, 40))[0]
    decode = paged.prefill(request, [1] * 5)

    assert_close(torch.cat((prefill, decode)), expected)


@pytest.mark.parametrize("chunk", [2, 7, 16])
def test_a_prefill_in_chunks_gives_the_same_logits(pair: Pair, chunk: int) -> None:
    ids = token_ids(45)
    paged = Paged(pair.ours, block_size=3)

    logits = paged.prefill(paged.request("a", ids), list(chunks_of(45, chunk)))

    assert_close(logits, reference_logits(pair.theirs, ids))


@pytest.mark.parametrize("small_read", [2, 256])
def test_requests_in_one_batch_do_not_see_each_other(
    pair: Pair, small_read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decodes are read all in one call, or grouped by length."""
    monkeypatch.setattr("engine.model.batch.SMALL_READ_TOKENS", small_read)
    paged = Paged(pair.ours, block_size=3)
    texts = [token_ids(length, seed) for seed, length in enumerate((20, 33, 9, 45))]
    expected = [reference_logits(pair.theirs, ids) for ids in texts]
    a, b, c, d = (paged.request(name, ids) for name, ids in zip("abcd", texts, strict=True))

    prefilled = paged.step((a, 19), (b, 30))
    mixed = paged.step((a, 1), (c, 8), (b, 1), (d, 44))
    decoded = paged.step((d, 1), (c, 1), (b, 1))

    assert_close(prefilled[0], expected[0][:19])
    assert_close(mixed[0], expected[0][19:])
    assert_close(mixed[1], expected[2][:8])
    assert_close(mixed[2], expected[1][30:31])
    assert_close(mixed[3], expected[3][:44])
    for logits, whole, position in zip(
        decoded, (expected[3], expected[2], expected[1]), (44, 8, 31), strict=True
    ):
        assert_close(logits[0], whole[position])


def test_the_whole_context_can_be_used(pair: Pair) -> None:
    ids = token_ids(CONTEXT)
    paged = Paged(pair.ours)

    logits = paged.prefill(paged.request("a", ids), [CONTEXT - 1, 1])

    assert_close(logits, reference_logits(pair.theirs, ids))


DYNAMIC: dict[str, Any] = {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 300.0, "factor": 2.0}}
TRAINED = 16
"""The context length that dynamic rope stretches: shorter than the texts of these tests."""


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dynamic")
    save_model(folder, "llama", max_position_embeddings=TRAINED, **DYNAMIC)
    return folder


def generate_logits(folder: Path, ids: list[int], prompt_tokens: int) -> Tensor:
    """transformers' logits when the prompt is prefilled at once and the rest decoded, by a fresh model:
    its dynamic rope remembers the longest sequence it has seen."""
    from transformers import AutoModelForCausalLM, DynamicCache

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        steps = [ids[:prompt_tokens], *([token] for token in ids[prompt_tokens:])]
        return torch.cat([model(torch.tensor([step]), past_key_values=cache).logits[0] for step in steps])


@pytest.mark.parametrize("prompt_tokens", [10, 16, 17, 24])
@pytest.mark.parametrize("chunk", [5, 24])
def test_dynamic_rope_gives_the_logits_of_generate(dynamic: Path, prompt_tokens: int, chunk: int) -> None:
    ids = token_ids(30)
    expected = generate_logits(dynamic, ids, prompt_tokens)
    paged = Paged(load_decoder(dynamic))
    request = paged.request("a", ids, prompt_tokens)

    prefill = paged.prefill(request, list(chunks_of(prompt_tokens, chunk)))
    decode = paged.prefill(request, [1] * (30 - prompt_tokens))

    assert_close(torch.cat((prefill, decode)), expected)


def test_dynamic_rope_stretches_each_request_by_its_own_length(dynamic: Path) -> None:
    """A long request in the batch must not turn the angles of a short one, nor of what comes after it."""
    long_ids, short_ids = token_ids(30), token_ids(12, seed=1)
    paged = Paged(load_decoder(dynamic))
    long, short = paged.request("long", long_ids, 24), paged.request("short", short_ids, 8)

    together = [paged.step((long, 24), (short, 8)), *(paged.step((long, 1), (short, 1)) for _ in range(4))]

    assert_close(torch.cat([step[0] for step in together]), generate_logits(dynamic, long_ids, 24)[:28])
    assert_close(torch.cat([step[1] for step in together]), generate_logits(dynamic, short_ids, 8)[:12])


def test_a_preempted_request_is_recomputed_as_it_was(dynamic: Path) -> None:
    ids = token_ids(30)
    paged = Paged(load_decoder(dynamic))
    first = paged.request("a", ids, 20)
    expected = torch.cat((paged.prefill(first, [20]), paged.prefill(first, [1] * 10)))

    again = paged.prefill(paged.request("a", ids, 20), [26, 4])

    assert_close(again, expected)


def test_keys_depend_on_the_prompt_only_when_it_is_longer_than_the_trained_length(dynamic: Path) -> None:
    decoder = load_decoder(dynamic)
    ids = token_ids(24)

    def keys(prompt_tokens: int) -> Tensor:
        paged = Paged(decoder)
        request = paged.request("a", ids, prompt_tokens)
        paged.prefill(request, [8, 4])
        return paged.pool.gather(0, span_slots(Span("a", 0, 12, request.blocks), paged.pool.block_size))

    for prompt_tokens in (12, 16, 17, 24):
        assert torch.equal(keys(prompt_tokens), keys(12)) == (
            prompt_tokens <= decoder.config.rope.original_tokens
        )


def test_rows_without_logits_cost_no_logits(dynamic: Path) -> None:
    paged = Paged(load_decoder(dynamic))
    a, b = paged.request("a", token_ids(10)), paged.request("b", token_ids(6))
    spans = [a.span(10, logit_rows=0), b.span(6, logit_rows=2)]
    with torch.inference_mode():
        some = run(paged.decoder.stages(Batch.build(spans, a.ids + b.ids, paged.pool.block_size), paged.pool))
        none = run(paged.decoder.stages(Batch.build(spans[:1], a.ids, paged.pool.block_size), paged.pool))
        everything = torch.cat(Paged(paged.decoder).step((a, 10), (b, 6)))

    assert none.shape == (0, VOCAB)
    assert_close(some, everything[-2:])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["mistral", "qwen3"])
def test_a_batch_in_half_precision_gives_what_each_request_gives_alone(
    family: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"mistral": {"sliding_window": 6}, "qwen3": {"head_dim": 16}}[family]
    save_model(tmp_path, family, **settings)
    decoder = load_decoder(tmp_path, dtype)
    texts = [token_ids(length, seed) for seed, length in enumerate((20, 33, 9))]
    alone = [Paged(decoder) for _ in texts]
    expected = [
        paged.prefill(paged.request("x", ids), [len(ids) - 1, 1])[-1]
        for paged, ids in zip(alone, texts, strict=True)
    ]
    together = Paged(decoder)
    requests = [together.request(str(number), ids) for number, ids in enumerate(texts)]
    together.step(*((request, len(request.ids) - 1) for request in requests))

    found = together.step(*((request, 1) for request in requests))

    for logits, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(logits[0], wanted, atol=0.2 if dtype == torch.bfloat16 else 0.02, rtol=0)
