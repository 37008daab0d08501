"""A long text in overlapping windows, so that every token is predicted once and with much before it.

|-- window --|
[scored      ]
      [given |scored]          a window begins one stride after the one before
            [given |scored]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.option_error import OptionError

LEAST_WINDOW = 8


@dataclass(frozen=True, slots=True)
class Window:
    """`ids` as the model is given them; of these the last `scored` are predicted, from text token `first` on."""

    ids: tuple[int, ...]
    scored: int
    first: int


def stride_of(window: int, first: int) -> int:
    """How far windows lie apart: half of the text tokens that one holds beside its `first` special ones."""
    return (window - first) // 2


def windows(ids: Sequence[int], window: int, bos: Sequence[int]) -> Iterator[Window]:
    """Windows of at most `window` tokens, each after the tokens that texts begin with for this model.

    Without such tokens nothing predicts the first one. Raises OptionError for a text with nothing to predict.
    """
    if window < LEAST_WINDOW:
        raise OptionError(f"window is {window}: it must be at least {LEAST_WINDOW}")
    if len(ids) + len(bos) < 2:
        raise OptionError(f"text has {len(ids)} tokens: there is nothing to predict, give a longer one")
    size, stride = window - len(bos), stride_of(window, len(bos))
    done = 0 if bos else 1
    for start in range(0, len(ids), stride):
        end = min(start + size, len(ids))
        yield Window((*bos, *ids[start:end]), end - done, done)
        done = end
        if end == len(ids):
            return
