"""The same folder run by transformers: what our logits are compared with. Imports transformers when called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Reference:
    """transformers' model of a folder, in the same compute type."""

    model: Any

    @torch.inference_mode()
    def logits(self, token_ids: Sequence[int]) -> Tensor:
        """Logits of a whole sequence in one forward pass: `[tokens, vocab]`, float32."""
        out = self.model(torch.tensor([list(token_ids)]), use_cache=False)
        logits: Tensor = out.logits[0].float()
        return logits

    @torch.inference_mode()
    def patterns(self, token_ids: Sequence[int]) -> list[Tensor]:
        """Attention pattern of each layer: `[heads, tokens, tokens]`; load with `attention="eager"`."""
        out = self.model(torch.tensor([list(token_ids)]), use_cache=False, output_attentions=True)
        return [pattern[0].float() for pattern in out.attentions]

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> list[list[int]]:
        """Exactly `max_tokens` greedy tokens for each of some prompts of one length."""
        ids = torch.tensor([list(prompt) for prompt in prompts])
        out = self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_tokens,
            min_new_tokens=max_tokens,
            do_sample=False,
            pad_token_id=0,
        )
        tokens: list[list[int]] = out[:, ids.shape[1] :].tolist()
        return tokens


def load_reference(folder: Path, dtype: torch.dtype | None = None, attention: str | None = None) -> Reference:
    """transformers' model of `folder`: local files only, safetensors only, no code from the folder.

    `dtype` None is the config's; `attention` is its implementation, "eager" to see patterns.
    """
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype or "auto",
        attn_implementation=attention,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    return Reference(model.eval())
