"""What a replay found first."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["input", "plan", "token", "draw", "logits", "result"]


class Difference(msgspec.Struct, frozen=True):
    """The first thing that differs: `field` of an event or a row of logits, as recorded and as it is now.

    `kind` is what it belongs to: an input that was given, the plan, a token, its draw, its logits, or what
    became of the step's results. `max_abs` is the largest distance of the recorded candidates' raw logits,
    None where there are none.
    """

    step: int
    request: str | None
    position: int | None
    field: str
    expected: str
    actual: str
    max_abs: float | None = None
    near_tie: bool = False
    kind: Kind = "result"
