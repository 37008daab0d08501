"""How the supported families differ, as data: what their configs say where a file says nothing. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.model.errors import ModelError, shown
from engine.model.json_fields import Fields

Biases = Literal["never", "on qkv", "by attention_bias"]
Windows = Literal["never", "all layers", "some layers"]


@dataclass(frozen=True, slots=True)
class Family:
    """One family of decoder-only models. The sizes are defaults of transformers' config class."""

    name: str
    architecture: str
    vocab_size: int
    intermediate_size: int
    max_position_embeddings: int
    kv_heads: int | None
    """None: one for each head."""
    head_dim: int | None
    """None: hidden size / heads."""
    windows: Windows
    biases: Biases
    reads_mlp_bias: bool = False
    qk_norm: bool = False
    bos_ids: tuple[int, ...] = ()
    eos_ids: tuple[int, ...] = ()


DEFAULT_WINDOW = 4096

FAMILIES = (
    Family("llama", "LlamaForCausalLM", 32000, 11008, 2048, None, None, "never", "by attention_bias", True,
           bos_ids=(1,), eos_ids=(2,)),
    Family("mistral", "MistralForCausalLM", 32000, 14336, 131072, 8, None, "all layers", "never",
           bos_ids=(1,), eos_ids=(2,)),
    Family("qwen2", "Qwen2ForCausalLM", 151936, 22016, 32768, 32, None, "some layers", "on qkv"),
    Family("qwen3", "Qwen3ForCausalLM", 151936, 22016, 32768, 32, 128, "some layers", "by attention_bias",
           qk_norm=True),
)  # fmt: skip


def family_of(fields: Fields) -> Family:
    """The family that a config names; `ModelError` when it is none of ours."""
    names = fields.values.get("architectures") or []
    names = names if isinstance(names, list) else [names]
    kind = fields.values.get("model_type")
    for family in FAMILIES:
        if family.architecture in names or (not names and family.name == kind):
            return family
    known = ", ".join(family.architecture for family in FAMILIES)
    raise ModelError(
        f"{fields.source}: architecture {shown(names or kind)} is not supported: it must be one of {known}"
    )
