"""How a step is planned: each module is one part of a plan, in the order in which they build on each other."""

from __future__ import annotations

from engine.planning.making import Plan
from engine.planning.planning import Planning

__all__ = ["Plan", "Planning"]
