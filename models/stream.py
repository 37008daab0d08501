"""Training batches: documents in a new order every epoch, packed end to end, cut into rows of equal length.

A batch is a function of its step alone, so a run that stops and resumes reads on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.vocabulary import CONTEXT, END_OF_TEXT_ID, VOCABULARY

__all__ = ["IGNORED", "Ids", "Stream", "repeated_spans"]

IGNORED = -100
REPEATED_SHARE = 0.03
SHORTEST_SPAN = 8

Ids = npt.NDArray[np.int64]


@dataclass(slots=True)
class Stream:
    """Batches of `pieces` packed pieces of 1,024 tokens; about 3 % of pieces are repeated random tokens."""

    documents: Sequence[Ids]
    pieces: int = 4
    seed: int = 0
    _epoch: int = field(default=-1, init=False)
    _packed: Ids = field(default_factory=lambda: np.zeros((0, 0), np.int64), init=False)

    @property
    def pieces_per_epoch(self) -> int:
        """Whole pieces that fit after the random offset an epoch starts at."""
        total = sum(len(document) + 1 for document in self.documents)
        return (total - CONTEXT - 1) // CONTEXT

    def batch(self, step: int, context: int) -> tuple[Tensor, Tensor]:
        """Inputs and labels of one step, each `[pieces * CONTEXT / context, context]`."""
        random = np.random.default_rng((self.seed, step))
        rows = [self._piece(step * self.pieces + i, random) for i in range(self.pieces)]
        inputs = torch.from_numpy(np.stack([row[:-1] for row, _ in rows]))
        labels = torch.from_numpy(np.stack([labels for _, labels in rows]))
        return inputs.reshape(-1, context), labels.reshape(-1, context)

    def _piece(self, index: int, random: np.random.Generator) -> tuple[Ids, Ids]:
        """One piece `[CONTEXT + 1]` and the label of each of its first CONTEXT tokens."""
        if random.random() < REPEATED_SHARE:
            return repeated_spans(random)
        epoch, number = divmod(index, self.pieces_per_epoch)
        if epoch != self._epoch:
            self._pack(epoch)
        piece = self._packed[number]
        return piece, piece[1:]

    def _pack(self, epoch: int) -> None:
        random = np.random.default_rng((self.seed, epoch, 1))
        end = np.array([END_OF_TEXT_ID])
        order = random.permutation(len(self.documents))
        tokens = np.concatenate([part for i in order for part in (end, self.documents[i])])
        start = int(random.integers(CONTEXT))
        starts = start + CONTEXT * random.permutation(self.pieces_per_epoch)
        self._packed = tokens[starts[:, None] + np.arange(CONTEXT + 1)]
        self._epoch = epoch


def repeated_spans(random: np.random.Generator) -> tuple[Ids, Ids]:
    """A span of random tokens said over and over: from the second time on, only looking back predicts it.

    What can't be predicted has no labels. A span is at most a quarter of the context, so that rows of half
    the context hold a repeat too.
    """
    length = int(random.integers(SHORTEST_SPAN, CONTEXT // 4))
    span = random.integers(END_OF_TEXT_ID + 1, VOCABULARY, length)
    piece = np.resize(span, CONTEXT + 1)
    labels = piece[1:].copy()
    labels[:length] = IGNORED
    return piece, labels
