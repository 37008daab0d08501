"""The engine's own sampler stages, as a plugin."""

from __future__ import annotations

from collections.abc import Sequence

from plugins.contract import NoOptions


class Sampler:
    """Always on: which stages a token goes through follows from its request's settings."""

    name = "sampler"
    version = "1"
    description = "The stages between logits and a token: penalties, temperature, top-k, top-p, min-p."
    options = NoOptions

    def provide(self, _options: NoOptions) -> Sequence[object]:
        from engine.stages import CHANGES, CUTS  # numpy, which lists of plugins do without

        return (*CHANGES, *CUTS)
