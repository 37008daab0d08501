"""A session against transformers on the same tokens. Imports torch and transformers when called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.near_tie import greedy_near_tie
from sessions.diff_compare import apart
from sessions.diff_distributions import Distribution
from sessions.diff_result import FirstToken, PairDifference, PositionDifference
from sessions.diff_side import Side
from sessions.diff_whole import Whole
from sessions.diff_words import REFERENCE
from workbench.cli.diff_models import Models

if TYPE_CHECKING:
    from engine.model.reference import Reference


@dataclass(slots=True)
class Transformers:
    """transformers' model of a session, given the session's tokens."""

    side: Side
    models: Models
    _model: Reference | None = field(default=None)

    @property
    def model(self) -> Reference:
        if self._model is None:
            from engine.model.reference import load_reference
            from engine.model.weights import DTYPES

            _quieten()
            header = self.side.session.header
            self._model = load_reference(self.models.folder(header), DTYPES[header.dtype])
        return self._model

    def compare(self, request: str) -> PairDifference:
        """Every chosen token of `request`: what was likeliest, here and there, after the same tokens.

        `first` is the first position where the likeliest tokens differ, with both models' raw margins.
        """
        first: FirstToken | None = None
        positions: list[PositionDifference] = []
        for position, ours, theirs in self._rows(request):
            token = self.side.ids(request)[position]
            found = apart(ours, theirs, position, token, same=False)
            positions.append(found)
            if first is None and not found.same_top:
                first = self._first(request, position, ours, theirs)
        return PairDifference(request, REFERENCE, first, positions)

    def _rows(self, request: str) -> Iterator[tuple[int, Distribution, Whole]]:
        from engine.divergence_reference import reference_logits

        ids = list(self.side.ids(request))
        start = self.side.prompt_tokens(request)
        if start >= len(ids):
            return
        rows = reference_logits(self.model, ids[:-1], start - 1)
        for position, logits in enumerate(rows, start):
            ours = self.side.distribution(request, position)
            if ours is not None:
                yield position, ours, Whole(logits.numpy(), "recomputed")

    def _first(self, request: str, position: int, ours: Distribution, theirs: Whole) -> FirstToken:
        margin_a, margin_b = self._margin(request, position), theirs.margin
        close = [margin for margin in (margin_a, margin_b) if margin is not None]
        text = self.side.text
        return FirstToken(
            request, REFERENCE, position, ours.top, theirs.top, text(ours.top), text(theirs.top),
            margin_a, margin_b, near_tie=any(map(greedy_near_tie, close)),
        )  # fmt: skip

    def _margin(self, request: str, position: int) -> float | None:
        """How far our two largest raw logits lay apart."""
        details = self.side.session.details(request, position, self.side.branch)
        if details is None or len(details.candidates) < 2:
            return None
        first, second = details.candidates.raw[:2]
        return first - second


def _quieten() -> None:
    """transformers draws bars of its own."""
    from transformers.utils import logging

    logging.disable_progress_bar()
