"""What events of plugins do to the bookkeeping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine import events as ev
from engine.kv.eviction import EvictionOrder, policy_named

if TYPE_CHECKING:
    from engine.state import State


def logits_changed(_state: State, _event: ev.LogitsChanged) -> None:
    """Which token is chosen shows in `token`: no bookkeeping depends on the logits."""


def plugin_disabled(state: State, event: ev.PluginDisabled) -> None:
    state.policy = event.policy or state.policy
    if event.eviction is not None:
        state.evictable = EvictionOrder(state.tree, state.blocks, policy_named(event.eviction))


APPLY: Mapping[type[ev.Event], Callable[[State, Any], None]] = {
    ev.LogitsChanged: logits_changed,
    ev.PluginDisabled: plugin_disabled,
}
