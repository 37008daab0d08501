"""Which fields may stay as they are; text and numbers in any other are hidden.

A list of what is known to be harmless, not of what is known to be secret: a field that nobody has thought of
is hidden.
"""

from __future__ import annotations

from typing import Any, Final

MARK: Final = "█"

KEPT: Final = frozenset(
    {
        # events
        "type", "branch", "step", "request", "arrival", "priority", "sample", "samples", "leader", "blocks",
        "tokens", "looked_up", "node", "hits", "last_use_step", "policy", "for_request", "index", "source",
        "block", "resumed", "cached_tokens", "need_blocks", "free_blocks", "released_blocks",
        "recompute_tokens", "batch", "budget", "parent", "created", "child", "at", "twin", "position", "draw",
        "detail", "output_tokens", "need", "limit", "started_ns", "plan_ns", "forward_ns", "sample_ns",
        "commit_ns", "ended", "at_position", "prompt_tokens", "changed",
        "indexes", "start", "rows", "weights",
        "intervened", "plugin", "hook", "why", "eviction", "recomputed_tokens", "replayed_steps",
        # reasons
        "code", "used", "free", "evictable", "running", "victim", "block_size", "evicted_step", "others",
        "sinks", "window", "scores", "kept",
        # sampling settings
        "max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty",
        "frequency_penalty", "seed", "ignore_eos", "beams", "length_penalty", "early_stopping",
        # adapters by name; which beams there are, and their scores
        "adapter", "search", "hypotheses", "best",
    }
)  # fmt: skip
OBJECTS: Final = frozenset({"reason", "end", "params"})
"""Objects whose own fields are looked at one by one; `reason` may also be a word."""


def marks(text: str | None) -> str | None:
    """Marks as long as `text`."""
    return None if text is None else MARK * len(text)


def hide(fields: dict[str, Any]) -> dict[str, Any]:
    """`fields` of an event, a reason or settings, with everything hidden that is not known to be harmless."""
    return {name: _field(name, value) for name, value in fields.items()}


def _field(name: str, value: Any) -> Any:
    if name in KEPT:
        return value
    if name in OBJECTS:
        return hide(value) if isinstance(value, dict) else value
    return _hidden(value)


def _hidden(value: Any) -> Any:
    """The same kind of thing without what it says; the names in an object go with it."""
    match value:
        case str():
            return marks(value)
        case bool() | None:
            return value
        case int() | float():
            return 0
        case list():
            return [_hidden(each) for each in value]
        case _:
            return {}
