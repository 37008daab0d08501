"""Asking for a row to be looked at again: once, and never again what the engine has refused."""

from __future__ import annotations

from workbench.bench import Scene
from workbench.inspections import Answer, Look


def looked(scene: Scene, look: Look) -> Answer:
    """What is known of `look`; the engine is asked when nobody has asked before."""
    answer = scene.inspections.get(look)
    return scene.inspections.ask(look) if answer.state == "absent" else answer


def why_not_looked(why: str, scene: Scene) -> str:
    """Why a row cannot be looked at, and the key that helps."""
    hint = "L loads the model behind this recording; then it can be computed again."
    return f"{why[:1].upper()}{why[1:]}." + (f"\n{hint}" if scene.engine.state == "none" else "")


__all__ = ["looked", "why_not_looked"]
