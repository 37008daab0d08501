"""What else could have been chosen: rank, logit and probability of any token, as far as they are known.

The twenty likeliest candidates of every token are kept; the logits of a row give the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.debug.errors import LacksError
from engine.debug.moment import Chosen
from engine.debug.values import Beyond, Value
from engine.details import FILTERS, MAX_CANDIDATES, TokenDetails

Row = npt.NDArray[np.float32]

LOGITS = "record with --capture logits, or look while the engine stands there"


def chosen_of(details: TokenDetails) -> Chosen:
    """The token that `details` explain."""
    return Chosen(
        details.request, details.position, details.token, details.draw, details.processed_logprob,
        details.raw_logprob, details.rank, details.entropy, details.varentropy, details.margin,
        details.near_tie,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class KnownCandidates:
    """Candidates of one token, from its `details` and, where they are there, all its raw `logits` [vocab]."""

    details: TokenDetails | None
    logits: Row | None = None

    def rank(self, token: int) -> Value:
        details = self._details()
        place = self._place(token)
        if place is not None:
            return place + 1 if place < MAX_CANDIDATES else details.rank
        if self.logits is None:
            return Beyond(len(self._head()) + 1, math.inf, self._lacks("rank"))
        value = self.logits[token]
        above = np.count_nonzero(self.logits > value) + np.count_nonzero(self.logits[:token] == value)
        return int(above) + 1

    def logit(self, token: int) -> Value:
        place = self._place(token)
        if place is not None:
            return self._details().candidates.raw[place]
        if self.logits is None:
            lowest = self._details().candidates.raw[len(self._head()) - 1] if self._head() else math.inf
            return Beyond(-math.inf, lowest, self._lacks("logit"))
        return float(self.logits[token])

    def prob(self, token: int) -> Value:
        """After all stages, 0 where one removed it."""
        details = self._details()
        place = self._place(token)
        if place is not None:
            return details.candidates.prob[place]
        if set(details.transforms) - {"temperature"}:
            raise LacksError(
                f"the final probability of token {token}, beyond the {MAX_CANDIDATES} likeliest, is not kept"
                " where penalties or biases change the order; its logit is"
            )
        last = details.stages[-1] if details.stages else None
        if last is not None and last.stage in FILTERS and last.kept <= len(self._head()):
            return 0.0
        rank, logit = self.rank(token), self.logit(token)
        if isinstance(rank, Beyond) or isinstance(logit, Beyond):
            return Beyond(0.0, 1.0 / (len(self._head()) + 1), self._lacks("probability"))
        return self._worked_out(rank, logit)

    def _worked_out(self, rank: Value, logit: Value) -> float:
        """From its place in the order, which no stage has changed, and its logit."""
        assert isinstance(rank, int)
        assert isinstance(logit, float)
        details = self._details()
        value = np.float32(logit)
        for stage in details.stages:
            if stage.stage == "temperature":
                value = value / np.float32(stage.setting)
            elif rank > stage.kept:
                return 0.0
        return math.exp(float(value) - details.processed_lse)

    def _details(self) -> TokenDetails:
        if self.details is None:
            raise LacksError("how this token was chosen was not recorded: there was no model behind the run")
        return self.details

    def _head(self) -> list[int]:
        """The likeliest tokens; the chosen one, when it is not among them, comes after them."""
        return list(self._details().candidates.ids[:MAX_CANDIDATES])

    def _place(self, token: int) -> int | None:
        ids = list(self._details().candidates.ids)
        return ids.index(token) if token in ids else None

    def _lacks(self, what: str) -> str:
        return f"the {what} of a token beyond the {MAX_CANDIDATES} likeliest is not kept: {LOGITS}"
