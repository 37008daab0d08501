"""What a search for the first differing stage found: plain data, as it is printed and shown. No torch."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from engine.model.stage_names import LAYER_STAGES

KV = "kv"
"""Stands among the stages for the keys and values that a run had cached of earlier positions."""

ORDER = (*LAYER_STAGES[: LAYER_STAGES.index("attn_out")], KV, *LAYER_STAGES[LAYER_STAGES.index("attn_out") :])
"""A layer's stages with the cache where it is read."""

Run = Literal["a", "b"]
Real = float | None
"""None is not finite: a NaN or an infinity is in one of the runs only."""


def real(value: float) -> Real:
    """`value`, where it is finite."""
    return value if math.isfinite(value) else None


class StageDifference(msgspec.Struct, frozen=True):
    """One stage of one row in two runs A and B.

    `max_abs`, `rel` (the l2 norm of the difference over that of A) and `cosine` compare the values as the runs
    had them. `own_*` compare A's value with what B's stage makes of A's inputs: what this stage adds by
    itself. `floor` is the largest `own_rel` that rounding in the coarser of the two types explains, and
    `beyond` says that the stage is above it, as a whole or in one element.
    """

    layer: int
    stage: str
    max_abs: Real
    rel: Real
    cosine: float
    own_max_abs: Real
    own_rel: Real
    floor: Real
    beyond: bool


class KVDifference(msgspec.Struct, frozen=True):
    """Cached keys and values of one layer in two runs: the largest difference, and at which position."""

    layer: int
    max_abs: Real
    rel: Real
    position: int


class FirstStage(msgspec.Struct, frozen=True):
    """Where two runs part: the first stage whose difference the stages before it do not explain.

    `position` is the row it was found in. `beyond_rounding` False means that no stage differs by more than
    rounding: this is then merely the first that differs at all. For the stage `kv`, `run` says whose cache
    does not hold what that run itself computes there.
    """

    layer: int
    stage: str
    position: int
    max_abs: Real
    rel: Real
    cosine: float
    own_rel: Real
    floor: Real
    beyond_rounding: bool
    run: Run | None = None
    note: str = ""


class Divergence(msgspec.Struct, frozen=True):
    """The search at the row before a differing token.

    `stages` are those of row `position`: the row asked about, or the earlier one where the cached keys and
    values of the runs begin to differ beyond rounding. `kv` compares what the runs had cached up to the row.
    """

    row: int
    position: int
    first: FirstStage | None
    stages: tuple[StageDifference, ...]
    kv: tuple[KVDifference, ...]
