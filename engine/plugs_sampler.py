"""The sampler stages that a request's settings switch on, as plugins bring them. No torch here."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class SamplerTransform(Protocol):
    """Changes logits as a request's settings say. Only the project's own can be one.

    Settings are part of every request and of every session, which tells a stage by its place among these, and a
    screen works choices out again without any plugin. A stage of somebody else's is a logits processor, whose
    changes are recorded.
    """

    name: str
    meaning: str

    def transform_logits(self, logits: Any, params: Any, seen: Any) -> Any:
        """Called for each token of a request that switched it on: float32 [vocab], and a new array of it.

        `params` are the request's `engine.params.SamplingParams`, `seen` counts its tokens
        (`engine.history.SeenTokens`).
        """
        ...


@runtime_checkable
class SamplerFilter(Protocol):
    """Removes the unlikeliest candidates as a request's settings say. Only the project's own can be one."""

    name: str
    meaning: str

    def cut_ranking(self, ranking: Any, params: Any, kept: int | None, mass: float) -> Any:
        """Called after all transforms: how many of the first candidates stay (`engine.stages.Cut`), at least one.

        `ranking` is an `engine.ranking.Ranking`, of which the filter before left `kept` (None: all), whose
        weights sum to `mass`.
        """
        ...
