"""The text that methods predicted: each token shaded by how far a method's prediction of it moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

from engine.quantization_result import Flip, MethodResult
from engine.sanitise import display_text
from sessions.quantization_kept import Study
from workbench.views.quant_tables import quoted
from workbench.widgets.inks import Ink

FAINTEST, BRIGHTEST = 1e-4, 1.0
"""The KL, in nats, of the first shade and the last: they lie evenly between its logarithms."""
SHADES_SAID = f"shaded from {FAINTEST:g} to {BRIGHTEST:g}"


class PredictedText:
    """A text as one method predicted it. A token stands for its prediction: what the model gave before it."""

    cached_len = 0

    def __init__(self, study: Study, method: MethodResult) -> None:
        self._words = study.text.words
        self._method = method
        self._without = len(study.text.ids) - predictions(study)

    @property
    def key(self) -> object:
        return id(self._words)

    @property
    def prompt_len(self) -> int:
        return len(self._words)

    def __len__(self) -> int:
        return len(self._words)

    def text(self, index: int) -> str:
        return display_text(self._words[index])

    def kl(self, index: int) -> float | None:
        """How far the prediction of a token moved, or the mean of its stretch; None for one that has none."""
        at = index - self._without
        return self._method.kl[at // self._method.kl_positions] if at >= 0 else None

    def shade(self, index: int) -> float | None:
        kl = self.kl(index)
        if kl is None or kl <= FAINTEST:
            return None
        return min(1.0, math.log(kl / FAINTEST) / math.log(BRIGHTEST / FAINTEST))

    def changed(self, index: int) -> bool:
        """Whether another token became the likeliest."""
        return index in self.flips

    @cached_property
    def flips(self) -> dict[int, Flip]:
        """The flips that are known, by text position."""
        return {flip.position: flip for flip in self._method.flips}

    def distance(self, index: int) -> str:
        """How far the prediction of one token moved, in words."""
        kl = self.kl(index)
        if kl is None:
            return f"{index:,} '{self.text(index)}': nothing comes before it"
        of = "" if self._method.kl_positions == 1 else f", mean of {self._method.kl_positions} tokens"
        return f"{index:,} '{self.text(index)}' KL {kl:.5f}{of}"

    def flip(self, index: int) -> str:
        """Which token was the likeliest there and which is now, in words; "" where it is the same."""
        flip = self.flips.get(index)
        if flip is None:
            return ""
        return f"{quoted(flip.full_text)} led by {flip.margin:.3f}, now {quoted(flip.quantized_text)}"


def predictions(study: Study) -> int:
    """How many tokens were predicted: all, or all but the first where no special token comes before it."""
    return len(study.text.ids) - (0 if study.text.first else 1)


class KLCourse:
    """The KL of every token, for a chart under the text."""

    name = "KL"
    ink: Ink = "accent"
    limit = 0.0

    def __init__(self, text: PredictedText) -> None:
        self._text = text

    def __len__(self) -> int:
        return len(self._text)

    def values(self, start: int, stop: int) -> Sequence[float]:
        return [self._text.kl(index) or 0.0 for index in range(start, min(stop, len(self)))]

    def written(self, value: float) -> str:
        return f"{value:.2g}"


__all__ = ["SHADES_SAID", "KLCourse", "PredictedText", "predictions"]
