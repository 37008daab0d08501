"""The rotary embedding part of a config, old and new key names alike. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

from engine.model.errors import ModelError, shown
from engine.model.json_fields import Fields

RopeType = Literal["default", "linear", "dynamic", "llama3", "yarn"]

DEFAULT_THETA = 10_000.0


@dataclass(frozen=True, slots=True)
class RopeConfig:
    """How positions become angles; fields that a type does not use keep their defaults.

    `original_tokens` is the context length before scaling (llama3, yarn, dynamic). `magnitude` multiplies
    cos and sin (yarn's attention factor); None leaves it to the formula of the paper.
    """

    type: RopeType = "default"
    theta: float = DEFAULT_THETA
    factor: float = 1.0
    original_tokens: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    magnitude: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None


def read_rope(config: Fields, context_tokens: int) -> RopeConfig:
    """The rope of a config.json: `rope_scaling` + `rope_theta` of older files, `rope_parameters` of newer."""
    name = "rope_scaling" if config.values.get("rope_scaling") else "rope_parameters"
    fields = config.object(name)
    if any(isinstance(value, dict) for value in fields.values.values()):
        raise ModelError(f"{config.source}: {name} differs by layer type: only one rope for all layers can run")
    _refuse_partial(config)
    _refuse_partial(fields)

    kind = fields.text("rope_type", fields.text("type", "default"))
    if kind not in get_args(RopeType):
        known = ", ".join(get_args(RopeType))
        raise ModelError(f"{config.source}: rope type {shown(kind)} is not supported: it must be one of {known}")

    theta = fields.number("rope_theta", config.number("rope_theta", DEFAULT_THETA))
    original = fields.integer("original_max_position_embeddings", context_tokens)
    original = config.integer("original_max_position_embeddings", original)
    match kind:
        case "linear":
            return RopeConfig("linear", theta, fields.number("factor"))
        case "dynamic":
            return RopeConfig("dynamic", theta, fields.number("factor"), original_tokens=context_tokens)
        case "llama3":
            low, high = fields.number("low_freq_factor"), fields.number("high_freq_factor")
            if high <= low:
                raise fields.refuse("high_freq_factor", f"it must be above low_freq_factor, {low}")
            return RopeConfig("llama3", theta, fields.number("factor"), original, low, high)
        case "yarn":
            return RopeConfig(
                "yarn",
                theta,
                fields.number("factor", context_tokens / original),
                original,
                beta_fast=fields.number("beta_fast", 32.0),
                beta_slow=fields.number("beta_slow", 1.0),
                truncate=fields.flag("truncate", True),
                magnitude=_optional(fields, "attention_factor"),
                mscale=_optional(fields, "mscale"),
                mscale_all_dim=_optional(fields, "mscale_all_dim"),
            )
    return RopeConfig(cast(RopeType, kind), theta)


def _optional(fields: Fields, key: str) -> float | None:
    return fields.number(key) if fields.values.get(key) else None


def _refuse_partial(fields: Fields) -> None:
    if fields.number("partial_rotary_factor", 1.0) != 1.0:
        raise fields.refuse("partial_rotary_factor", "only heads rotated as a whole (1.0) can run")
