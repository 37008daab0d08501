"""Commands that stop inside a step's forward pass and go through its stages."""

from __future__ import annotations

from typing import TypeAlias

from engine.protocol.base import Message
from engine.protocol.commands import Pause, Run, Step
from engine.protocol.looking import Inspect, LookLayers
from engine.stage_report import Window


class StepInto(Message, frozen=True):
    """Plan the next step and stand before the first stage of its forward pass.

    This and the commands that follow are answered by a `StageReport`, with the values of the rows of
    `request` (of the first one in the batch where it is None or not there). While a pass is halted, commands
    that are not `WHILE_HALTED` wait until it is over; `Step` and `Run` go on from there.
    """

    request: str | None = None


class NextStage(Message, frozen=True):
    """Run on to the next stage, or over `count` of them; from the last one, finish the step."""

    count: int = 1
    request: str | None = None


class NextLayer(Message, frozen=True):
    """Run on to the first stage of the next layer; from the last layer, to `final_norm`."""

    request: str | None = None


class ToStage(Message, frozen=True):
    """Run on to a stage that is still ahead."""

    layer: int
    stage: str
    request: str | None = None


class LookStage(Message, frozen=True):
    """Look at the stage where the pass stands: at another request's rows, or closer."""

    request: str | None = None
    window: Window = Window()


class FinishForward(Message, frozen=True):
    """Run the rest of the pass and commit the step."""


class Abandon(Message, frozen=True):
    """Give up the step under way: it is recorded as failed, and its requests wait again."""


Walking: TypeAlias = StepInto | NextStage | NextLayer | ToStage | LookStage | FinishForward | Abandon

WHILE_HALTED = (
    Step, Run, Pause, Inspect, LookLayers,
    StepInto, NextStage, NextLayer, ToStage, LookStage, FinishForward, Abandon,
)  # fmt: skip
"""What is obeyed inside a forward pass; other commands wait until it is over."""
