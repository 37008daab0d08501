"""The engine's own sampler stages, as a plugin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.details import FILTERS, MEANINGS, TRANSFORMS
from plugins.contract import NoOptions


@dataclass(frozen=True, slots=True)
class Transform:
    """A stage that changes logits. Its numpy is imported when it is called: lists of plugins do without."""

    name: str
    meaning: str

    def transform_logits(self, logits: Any, params: Any, seen: Any) -> Any:
        from engine.stages import TRANSFORM

        return TRANSFORM[self.name](logits, params, seen)


@dataclass(frozen=True, slots=True)
class Filter:
    """A stage that removes candidates."""

    name: str
    meaning: str

    def cut_ranking(self, ranking: Any, params: Any, kept: int | None, mass: float) -> Any:
        from engine.stages import FILTER

        return FILTER[self.name](ranking, params, kept, mass)


class Sampler:
    """Always on: which stages a token goes through follows from its request's settings."""

    name = "sampler"
    version = "1"
    description = "The stages between logits and a token: penalties, temperature, top-k, top-p, min-p."
    options = NoOptions

    def provide(self, _options: NoOptions) -> Sequence[object]:
        changing = [Transform(stage, MEANINGS[stage]) for stage in TRANSFORMS]
        return (*changing, *(Filter(stage, MEANINGS[stage]) for stage in FILTERS))
