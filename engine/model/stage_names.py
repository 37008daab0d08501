"""The named points of a forward pass, in the order they are reached. No torch."""

from __future__ import annotations

from collections.abc import Iterator

OUTSIDE = -1
"""The layer of stages that belong to none."""

FIRST_STAGES = ("embed",)
LAYER_STAGES = (
    "attn_norm", "q", "k", "v", "q_rot", "k_rot", "attn_out", "attn_proj", "resid_mid",
    "mlp_norm", "gate", "up", "mlp_out", "resid_post",
)  # fmt: skip
LAST_STAGES = ("final_norm", "logits")
"""These have a row for each wanted logit, all before them one for each token."""

ATTENTION_STAGES = ("attn_scores", "attn_pattern")
"""Not part of the normal run: computed beside it, or instead of it where they are replaced."""


def points(layers: int) -> Iterator[tuple[int, str]]:
    """Every (layer, stage) of a model with this many layers, in order."""
    yield from ((OUTSIDE, stage) for stage in FIRST_STAGES)
    for layer in range(layers):
        yield from ((layer, stage) for stage in LAYER_STAGES)
    yield from ((OUTSIDE, stage) for stage in LAST_STAGES)


def is_point(layer: int, stage: str, layers: int) -> bool:
    """Whether a model with this many layers has that stage in that layer, attention stages included."""
    if layer == OUTSIDE:
        return stage in FIRST_STAGES + LAST_STAGES
    return 0 <= layer < layers and stage in LAYER_STAGES + ATTENTION_STAGES
