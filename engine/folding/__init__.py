"""The fold: what each event does to a `State`, in a module for each one of `engine.events`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine import events as ev
from engine.folding import beams, blocks, drafts, keeping, plugins, requests, steps

if TYPE_CHECKING:
    from engine.state import State

APPLY: Mapping[type[ev.Event], Callable[[State, Any], None]] = {
    **requests.APPLY,
    **blocks.APPLY,
    **steps.APPLY,
    **plugins.APPLY,
    **drafts.APPLY,
    **keeping.APPLY,
    **beams.APPLY,
}

__all__ = ["APPLY"]
