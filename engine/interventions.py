"""What a person may change inside the forward pass of one request: stages scaled, or switched off. No torch."""

from __future__ import annotations

import math

import msgspec

from engine.model.stage_names import ATTENTION_STAGES, LAST_STAGES, is_point
from engine.option_error import OptionError

HEAD_STAGES = ("q", "q_rot", "attn_out")  # one row of values for each query head


class Scale(msgspec.Struct, frozen=True):
    """Multiply a stage by `factor` (0 switches it off); with `head`, only that query head's part of it.

    `attn_out` with a head is that head; `attn_proj` the whole attention of a layer; `mlp_out` its MLP.
    """

    layer: int
    stage: str
    factor: float
    head: int | None = None

    def __post_init__(self) -> None:
        if self.stage in (*ATTENTION_STAGES, *LAST_STAGES):
            raise OptionError(f"stage is {self.stage!r}: use one with a row for every token")
        if self.head is not None and self.stage not in HEAD_STAGES:
            raise OptionError(f"stage {self.stage!r} has no heads: use one of {', '.join(HEAD_STAGES)}")
        if not math.isfinite(self.factor):
            raise OptionError(f"factor is {self.factor!r}: it must be a finite number")

    def check(self, layers: int, heads: int) -> None:
        """Raise OptionError unless a model with that many layers and query heads has this place."""
        if not is_point(self.layer, self.stage, layers):
            raise OptionError(
                f"there is no stage {self.stage!r} in layer {self.layer}: the model has {layers} layers"
            )
        if self.head is not None and not 0 <= self.head < heads:
            raise OptionError(f"there is no head {self.head}: the model has {heads} heads")


class Intervened(msgspec.Struct, frozen=True):
    """`scales` apply to the rows of positions from `start` on; earlier ones are computed as they are."""

    start: int
    scales: tuple[Scale, ...]
