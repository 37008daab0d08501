"""What an adapter folder's adapter_config.json says, checked. No torch.

Only what the forward pass can honour is taken: a field that would change what the adapter does, and that is not
known here, is refused, never left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from engine.model.errors import ModelError, shown
from engine.model.json_fields import Fields, read_json

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

MOST_RANK = 1 << 16
_Number = TypeVar("_Number", int, float)
_LITERAL = re.compile(r"\^?[A-Za-z0-9_.]+")

_SAYS_NOTHING = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config",
        "exclude_modules", "inference_mode", "layers_pattern", "layers_to_transform", "loftq_config",
        "lora_dropout", "lora_ga_config", "megatron_config", "megatron_core", "peft_version", "qalora_group_size",
        "revision", "runtime_config", "task_type",
    }
)  # fmt: skip
"""Fields that matter in training, or that the tensors of the file tell better."""
_READ_HERE = frozenset(
    {
        "alpha_pattern", "bias", "fan_in_fan_out", "init_lora_weights", "lora_alpha", "peft_type", "r",
        "rank_pattern", "target_modules", "use_rslora",
    }
)  # fmt: skip
_WHY_NOT = {
    "use_dora": "DoRA rescales the whole weight, and only low-rank sums are computed here",
    "modules_to_save": "it brings whole modules of its own, and only low-rank sums are computed here",
    "trainable_token_indices": "it brings embeddings of its own, and only low-rank sums are computed here",
    "lora_bias": "it brings biases of its own, and only low-rank sums are computed here",
    "layer_replication": "it repeats layers of the model",
    "alora_invocation_tokens": "it is switched on by tokens of the prompt",
}
_FRESH_STARTS = (True, False, "gaussian", "orthogonal", "eva")
"""Ways to begin training that leave the base weights as they are."""


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """The numbers of an adapter: `rank` and `alpha`, and what differs for modules of certain names."""

    rank: int
    alpha: float
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    by_root: bool
    targets: tuple[str, ...]
    """Names that `target_modules` lists; empty where it is a pattern."""

    def rank_of(self, module: str) -> int:
        """The rank of `module`, a path such as `model.layers.0.self_attn.q_proj`."""
        return _of(self.ranks, module, self.rank)

    def scale_of(self, module: str) -> float:
        """What B A is multiplied with: alpha / r, or alpha / sqrt(r) (Kalajdzievski 2023, "rsLoRA")."""
        rank, alpha = self.rank_of(module), _of(self.alphas, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.by_root else rank)


def read_adapter_config(folder: Path) -> AdapterConfig:
    """The config of an adapter folder. Raises ModelError, in one line, for what is not there or cannot be run."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder: give the path of an adapter folder with {CONFIG}")
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder}: has no {CONFIG}: it is no adapter folder in PEFT's format")
    fields = read_json(folder / CONFIG)
    return parse_adapter_config(Fields(fields.values, str(folder / CONFIG)))


def parse_adapter_config(fields: Fields) -> AdapterConfig:
    """The config in `fields`. Raises ModelError for what cannot be run."""
    if fields.text("peft_type") != "LORA":
        raise fields.refuse("peft_type", "only LORA adapters can be run")
    _check_whole(fields)
    rank = fields.integer("r")
    if rank > MOST_RANK:
        raise fields.refuse("r", f"it must be at most {MOST_RANK}")
    ranks, alphas = fields.object("rank_pattern"), fields.object("alpha_pattern")
    return AdapterConfig(
        rank,
        fields.number("lora_alpha"),
        {_literal(ranks, name): ranks.integer(name) for name in ranks.values},
        {_literal(alphas, name): alphas.number(name) for name in alphas.values},
        fields.flag("use_rslora", False),
        _targets(fields),
    )


def _check_whole(fields: Fields) -> None:
    """Refuse whatever would make the adapter another function than W x + scale B A x."""
    if fields.flag("fan_in_fan_out", False):
        raise fields.refuse("fan_in_fan_out", "weights here are [out, in]")
    if fields.text("bias", "none") != "none":
        raise fields.refuse("bias", "only adapters that leave biases alone (none) can be run")
    if fields.values.get("init_lora_weights", True) not in _FRESH_STARTS:
        raise fields.refuse("init_lora_weights", "it changes the base weights: convert it to a plain LoRA first")
    for key, value in fields.values.items():
        if value and key not in _SAYS_NOTHING and key not in _READ_HERE:
            raise fields.refuse(key, _WHY_NOT.get(key, "what it changes is not known here"))


def _literal(fields: Fields, name: str) -> str:
    """A module's name, or the end of one. A regular expression of an untrusted file is not run."""
    if not _LITERAL.fullmatch(name):
        raise ModelError(f"{fields.source}: it names {shown(name)}: write out the modules' names")
    return name


def _targets(fields: Fields) -> tuple[str, ...]:
    targets = fields.values.get("target_modules")
    if isinstance(targets, str) or targets is None:
        return ()
    if not isinstance(targets, list) or not all(isinstance(each, str) for each in targets):
        raise fields.refuse("target_modules", "it must be a list of names, or a string")
    return tuple(targets)


def _of(patterns: Mapping[str, _Number], module: str, default: _Number) -> _Number:
    """The value of the first pattern that `module` is, or ends with after a dot."""
    for pattern, value in patterns.items():
        name = pattern.removeprefix("^")
        if module == name or (not pattern.startswith("^") and module.endswith(f".{name}")):
            return value
    return default
