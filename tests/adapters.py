"""Adapters in PEFT's format, written by PEFT on the bundled model or on a small random one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.bundled import FOLDER

ATTENTION_AND_MLP = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@contextmanager
def _peft() -> Iterator[Any]:
    """PEFT, which asks transformers for names that are on their way out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import peft

        yield peft


def save_adapter(folder: Path, model: Path = FOLDER, seed: int = 0, **settings: Any) -> Path:
    """Write an adapter of random factors for `model`, none of them zero, to `folder`; the folder."""
    chosen: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]} | settings
    source = torch.Generator().manual_seed(seed)
    with _peft() as peft:
        made = peft.get_peft_model(reference(model), peft.LoraConfig(task_type="CAUSAL_LM", **chosen))
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
    with _peft() as peft, torch.inference_mode():
        adapted = peft.PeftModel.from_pretrained(reference(model), adapter).eval()
        if merge:
            adapted = adapted.merge_and_unload()
        logits: Tensor = adapted(torch.tensor([list(ids)]), use_cache=False).logits[0]
    return logits
