"""How far a recomputed value is from what was recorded, in words."""

from __future__ import annotations

from workbench.widgets.glyphs import Glyphs

FAR = 0.25
"""Logits that differ by more are not those of the run: rounding, even in bfloat16, stays well below."""


def recomputed(worst: float | None, glyphs: Glyphs) -> str:
    """The mark of a recomputed value, with the largest difference of its logits from the recorded ones."""
    if worst is None:
        return f"{glyphs.approximate} recomputed, no logits recorded to compare with"
    if worst == 0:
        return f"{glyphs.approximate} recomputed, logits as recorded"
    if worst > FAR:
        return f"! {worst:.3g} off the recorded logits: not what ran"
    return f"{glyphs.approximate} recomputed, logits within {worst:.1g} of the record"


__all__ = ["FAR", "recomputed"]
