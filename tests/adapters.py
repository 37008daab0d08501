"""Adapters in PEFT's format, written by PEFT on the bundled model or on a small random one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.bundled import FOLDER

ATTENTION_AND_MLP = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def save_adapter(folder: Path, model: Path = FOLDER, seed: int = 0, **settings: Any) -> Path:
    """Write an adapter of random factors for `model`, none of them zero, to `folder`; the folder."""
    import peft

    chosen: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]} | settings
    made = peft.get_peft_model(reference(model), peft.LoraConfig(task_type="CAUSAL_LM", **chosen))
    source = torch.Generator().manual_seed(seed)
    for name, parameter in made.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=source) * 0.2
    made.save_pretrained(folder)
    return folder


def reference(model: Path = FOLDER, dtype: torch.dtype = torch.float32) -> Any:
    """transformers' own model."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    return transformers.AutoModelForCausalLM.from_pretrained(model, dtype=dtype).eval()


def peft_logits(adapter: Path, ids: Sequence[int], model: Path = FOLDER, merge: bool = False) -> Tensor:
    """PEFT's logits of a whole sequence, `[tokens, vocab]`, from `model` with the adapter loaded or merged."""
    import peft

    adapted: Any = peft.PeftModel.from_pretrained(reference(model), adapter).eval()
    if merge:
        adapted = adapted.merge_and_unload()
    with torch.inference_mode():
        logits: Tensor = adapted(torch.tensor([list(ids)]), use_cache=False).logits[0]
    return logits
