"""Which layers attend to the latest positions only, as each family's config decides it. No torch."""

from __future__ import annotations

from engine.model.errors import shown
from engine.model.families import DEFAULT_WINDOW, Family
from engine.model.json_fields import Fields

FULL, SLIDING = "full_attention", "sliding_attention"


def read_windows(fields: Fields, family: Family, layers: int) -> tuple[int | None, ...]:
    """For each layer the number of latest positions it attends to, or None for all of them."""
    match family.windows:
        case "never":
            return (None,) * layers
        case "all layers":
            return (_window(fields),) * layers
        case "some layers":
            window = _window(fields) if fields.flag("use_sliding_window", False) else None
            return _by_layer(fields, window, layers)


def _window(fields: Fields) -> int | None:
    """Null switches the window off, an absent key leaves it at the default."""
    if "sliding_window" in fields.values and "sliding_window" not in fields:
        return None
    return fields.integer("sliding_window", DEFAULT_WINDOW)


def _by_layer(fields: Fields, window: int | None, layers: int) -> tuple[int | None, ...]:
    types = fields.values.get("layer_types")
    if types is None:
        first = fields.integer("max_window_layers", 28, least=0)
        return tuple(window if layer >= first else None for layer in range(layers))
    if not isinstance(types, list) or len(types) != layers:
        raise fields.refuse("layer_types", f"it must list one type for each of {layers} layers")
    if unknown := [kind for kind in types if kind not in (FULL, SLIDING)]:
        raise fields.refuse("layer_types", f"{shown(unknown[0])} cannot run, {FULL} or {SLIDING} can")
    if window is None and SLIDING in types:
        raise fields.refuse("layer_types", f"{SLIDING} needs sliding_window and use_sliding_window")
    return tuple(window if kind == SLIDING else None for kind in types)
