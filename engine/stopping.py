"""When an output is complete: end-of-sequence and stop ids, stop strings, and length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from engine.execution import Limits
from engine.reasons import FinishDetail, FinishReason
from engine.state import Request


@dataclass(frozen=True, slots=True)
class Stop:
    """Why an output ends; `message` names the stop string that did it."""

    reason: FinishReason
    detail: FinishDetail
    message: str = ""


class StopStrings(Protocol):
    """Looks for stop strings in the text of a growing output."""

    def push(self, token: int) -> str | None:
        """Take in the next output token; the stop string that is now complete, if any."""
        ...


def stop_after(
    request: Request, token: int, limits: Limits, strings: StopStrings | None, uncounted: int = 0
) -> Stop | None:
    """Whether `token`, just chosen, ends the output of `request`.

    The latest `uncounted` tokens, it among them, are not counted in `request.num_tokens`.
    """
    params = request.params
    if token in limits.eos_ids and not params.ignore_eos:
        return Stop("stop", "eos")
    if token in params.stop_ids:
        return Stop("stop", "stop_id")
    if strings is not None and (found := strings.push(token)) is not None:
        return Stop("stop", "stop_string", found)
    if request.num_tokens + uncounted >= limits.max_context:
        return Stop("length", "context")
    if request.output_tokens + uncounted >= params.max_tokens:
        return Stop("length", "max_tokens")
    return None
