"""Small random models written by transformers, and the ways the tests run them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.kv.pool import KVPool
from engine.model.batch import Batch, Span
from engine.model.decoder import Decoder, run

VOCAB = 97
CONTEXT = 64

SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def save_model(folder: Path, family: str, dtype: torch.dtype = torch.float32, **settings: Any) -> Any:
    """Writes a random model to `folder` and returns transformers' own."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    name = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "mistral": "Mistral"}[family]
    config = getattr(transformers, f"{name}Config")(**SHAPE | settings)
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if parameter.ndim == 1 else 0.0, std=0.3)
    model.to(dtype).save_pretrained(folder)
    return model


def token_ids(count: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(VOCAB), k=count)


def reference_logits(model: Any, ids: Sequence[int]) -> Tensor:
    """transformers' logits of a whole sequence in one forward pass: `[tokens, vocab]`."""
    with torch.inference_mode():
        logits: Tensor = model(torch.tensor([list(ids)]), use_cache=False).logits[0]
    return logits


@dataclass
class Request:
    """A sequence with a block table, computed piece by piece."""

    name: str
    ids: list[int]
    blocks: list[int]
    prompt_tokens: int = 0
    computed: int = 0

    def span(self, tokens: int, logit_rows: int | None = None) -> Span:
        rows = tokens if logit_rows is None else logit_rows
        return Span(self.name, self.computed, tokens, self.blocks, rows, self.prompt_tokens)


class Paged:
    """A decoder with a pool whose blocks are handed out in random order; free slots hold NaN."""

    def __init__(self, decoder: Decoder, block_size: int = 3, num_blocks: int = 256) -> None:
        self.decoder = decoder
        self.pool = KVPool(decoder.config, num_blocks, block_size, decoder.dtype)
        for layer in self.pool.layers:
            layer.fill_(torch.nan)
        self.free = random.Random(0).sample(range(num_blocks), num_blocks)

    def request(self, name: str, ids: list[int], prompt_tokens: int = 0) -> Request:
        needed = -(-len(ids) // self.pool.block_size)
        blocks, self.free = self.free[:needed], self.free[needed:]
        return Request(name, ids, blocks, prompt_tokens)

    def batch(self, *work: tuple[Request, int]) -> Batch:
        """The next `tokens` of each request, with logits of all of them."""
        spans = [request.span(tokens) for request, tokens in work]
        ids = [i for request, tokens in work for i in request.ids[request.computed : request.computed + tokens]]
        return Batch.build(spans, ids, self.pool.block_size)

    @torch.inference_mode()
    def step(self, *work: tuple[Request, int]) -> list[Tensor]:
        """Computes the next `tokens` of each request: their logits, `[tokens, vocab]` each."""
        logits = run(self.decoder.stages(self.batch(*work), self.pool))
        for request, tokens in work:
            request.computed += tokens
        return list(logits.split_with_sizes([tokens for _, tokens in work]))

    def prefill(self, request: Request, chunks: Sequence[int]) -> Tensor:
        return torch.cat([self.step((request, tokens))[0] for tokens in chunks])


def chunks_of(count: int, size: int) -> Iterator[int]:
    for begin in range(0, count, size):
        yield min(size, count - begin)
