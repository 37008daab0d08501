"""Which tokens a request has seen, kept up to date a token at a time: what the penalties count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["SeenTokens", "TokenHistory"]

Kind = TypeVar("Kind", np.int64, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class SeenTokens:
    """The distinct tokens of prompt and output, and how often each is in the output.

    `ids` int64 [n] in order of first appearance, `output_counts` float32 [n].
    """

    ids: npt.NDArray[np.int64]
    output_counts: npt.NDArray[np.float32]


class TokenHistory:
    """Counts the tokens of one request. Ids outside the vocabulary are left out: they have no logit.

    Appending costs the same however long the request is; `seen()` copies the counts and may be kept.
    """

    def __init__(self, prompt_ids: Sequence[int], output_ids: Sequence[int], vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._index: dict[int, int] = {}
        self._ids = np.zeros(64, dtype=np.int64)
        self._counts = np.zeros(64, dtype=np.float32)
        for token in prompt_ids:
            self._add(token, 0.0)
        for token in output_ids:
            self.append(token)

    def append(self, token: int) -> None:
        """Take in the newest output token."""
        self._add(token, 1.0)

    def seen(self) -> SeenTokens:
        """What has been seen until now; later appends do not change it."""
        n = len(self._index)
        return SeenTokens(self._ids[:n], self._counts[:n].copy())

    def _add(self, token: int, count: float) -> None:
        if not 0 <= token < self._vocab_size:
            return
        slot = self._index.setdefault(token, len(self._index))
        if slot == len(self._ids):
            self._ids, self._counts = _doubled(self._ids), _doubled(self._counts)
        self._ids[slot] = token
        self._counts[slot] += count


def _doubled(column: npt.NDArray[Kind]) -> npt.NDArray[Kind]:
    return np.concatenate((column, np.zeros_like(column)))
