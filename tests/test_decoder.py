"""Our logits are transformers', whatever the model's options and however the work is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.model.decoder import Decoder
from engine.model.weights import load_decoder
from tests.tiny_models import CONTEXT, Paged, chunks_of, reference_logits, save_model, token_ids


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-5)


YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 16,
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
    "llama llama3": ("llama", {"rope_parameters": LLAMA3}),
    "llama yarn": ("llama", {"rope_parameters": YARN}),
    "qwen2": ("qwen2", {}),
    "qwen2 tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen2 yarn": ("qwen2", {"rope_parameters": YARN | {"beta_fast": 8.0, "beta_slow": 2.0, "truncate": False}}),
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


def test_requests_in_one_batch_do_not_see_each_other(pair: Pair) -> None:
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
