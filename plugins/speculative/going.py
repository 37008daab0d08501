"""Drafts under way: a token at a time, each drawn as the request's own settings draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engine.drafting import Draft
from engine.drafts import DraftRequest
from engine.events import Spread
from engine.history import TokenHistory
from engine.model.span import Span
from engine.ranking import heads
from engine.sampling import SamplerRow, transform
from plugins.speculative.drawing import draw

Floats = npt.NDArray[np.float32]
MakeGoing = Callable[["Lane", int, int], "Going"]
"""Makes the draft of a lane: its length, and the size of the vocabulary."""
Passes = Callable[[Sequence[Span], Sequence[int]], Floats]
"""Runs the drafting model over spans and their tokens: `[spans, vocab]`, what follows the last token of each."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One request while it is drafted for: its table with scratch blocks from the newest token's block on.

    `computed` positions are in the request's blocks, the first `known` of them as the drafting model has them.
    """

    asked: DraftRequest
    table: Sequence[int]
    computed: int
    known: int
    adapter: str = ""

    def catching_up(self) -> Span:
        """The positions that are missing, up to the newest token."""
        return self._span(self.known, self.computed + 1 - self.known)

    def next_span(self, drafted: int) -> Span:
        """The position of draft number `drafted`, from 1."""
        return self._span(self.computed + drafted, 1)

    def _span(self, start: int, tokens: int) -> Span:
        asked = self.asked
        return Span(
            asked.request, start, tokens, self.table, prompt_tokens=asked.prompt_tokens, adapter=self.adapter
        )


@dataclass(slots=True)
class Going:
    """The draft of one lane, of `length` tokens in the end."""

    lane: Lane
    length: int
    vocab_size: int
    tokens: list[int] = field(default_factory=list)
    spreads: list[Spread] = field(default_factory=list)
    _history: TokenHistory | None = None

    def __post_init__(self) -> None:
        params, asked = self.lane.asked.params, self.lane.asked
        if params.repetition_penalty != 1.0 or params.presence_penalty or params.frequency_penalty:
            prompt, output = asked.tokens[: asked.prompt_tokens], asked.tokens[asked.prompt_tokens :]
            self._history = TokenHistory(prompt, output, self.vocab_size)

    def take(self, raw: Floats) -> None:
        """Draft the next token from the drafting model's logits [vocab]."""
        token, spread = draw(raw, self._row())
        if spread is not None:
            self.spreads.append(spread)
        self.keep(token)

    def scores(self, raw: Floats) -> Floats:
        """The logits [vocab] after the request's own transforms."""
        transforms = transform(raw, self._row())
        return transforms[-1][1] if transforms else raw

    def keep(self, token: int) -> None:
        """The next passes go on from `token`."""
        self.tokens.append(token)
        if self._history is not None:
            self._history.append(token)

    def _row(self) -> SamplerRow:
        asked = self.lane.asked
        seen = None if self._history is None else self._history.seen()
        position = asked.position + len(self.tokens)
        return SamplerRow(asked.request, asked.params, asked.seed, asked.sample, position, seen)

    def draft(self) -> Draft:
        return Draft.drawn(self.tokens, self.spreads) if self.spreads else Draft.sure(self.tokens)


@dataclass(slots=True)
class GoingComb(Going):
    """A line of likeliest tokens, and at each position the `width` - 1 next likeliest; nothing is drawn."""

    width: int = 2
    beside: list[list[int]] = field(default_factory=list)

    def take(self, raw: Floats) -> None:
        scores = self.scores(raw)
        likeliest = heads(scores[None], self.width)[0].tolist()
        self.beside.append(likeliest[1:])
        self.keep(likeliest[0])

    def draft(self) -> Draft:
        """The line comes first, so that a draft that is cut short is cut to its line."""
        tokens, parents = list(self.tokens), list(range(-1, len(self.tokens) - 1))
        for at, others in enumerate(self.beside):
            tokens += others
            parents += [at - 1] * len(others)
        return Draft.sure(tokens, parents)


def go_on(going: Sequence[Going], logits: Floats, passes: Passes) -> list[Draft]:
    """The whole drafts, from the logits `[lanes, vocab]` that the first token of each follows from."""
    drafting = going
    while True:
        for each, raw in zip(drafting, logits, strict=True):
            each.take(raw)
        drafting = [each for each in drafting if len(each.tokens) < each.length]
        if not drafting:
            return [each.draft() for each in going]
        spans = [each.lane.next_span(len(each.tokens)) for each in drafting]
        logits = passes(spans, [each.tokens[-1] for each in drafting])
