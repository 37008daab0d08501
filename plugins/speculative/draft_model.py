"""A small model that drafts for a large one: a pass over what is missing, then a pass for each further token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from engine.drafting import Draft
from engine.drafts import DraftRequest
from engine.events import Spread
from engine.executor import TorchExecutor
from engine.history import TokenHistory
from engine.model.batch import Batch, Span
from engine.model.decoder import Decoder, run
from engine.model.errors import ModelError
from engine.model.weights import load_decoder
from engine.sampling import SamplerRow
from engine.text.errors import TextError
from engine.text.tokenizer import Tokenizer
from plugins.speculative.draft_kv import DraftKV, Lane
from plugins.speculative.drawing import draw

MOST_LANES: Final = 32
"""So many requests are drafted for in one pass; others in the next."""

Floats = npt.NDArray[np.float32]


class DraftModel:
    """Drafts up to `most` tokens for each request, drawn as the request's own settings draw."""

    def __init__(self, folder: Path, executor: TorchExecutor, target: Path, most: int) -> None:
        """Load the model in `folder`. Raises ModelError where it cannot draft for the one in `target`."""
        self._decoder = load_decoder(folder, executor.decoder.dtype)
        check_vocabularies(folder, self._decoder, target, executor.decoder)
        self._kv = DraftKV(self._decoder.config, executor.pool, MOST_LANES, most)

    def drafts(self, asked: Sequence[DraftRequest], lengths: Sequence[int]) -> list[Draft | None]:
        """A draft of so many tokens for each request; None where the drafting model's context ends before."""
        context = self._decoder.config.context_tokens
        fits = [at for at, each in enumerate(asked) if len(each.tokens) + lengths[at] <= context]
        found: list[Draft | None] = [None] * len(asked)
        with torch.inference_mode():
            for start in range(0, len(fits), MOST_LANES):
                group = fits[start : start + MOST_LANES]
                made = self._group([asked[at] for at in group], [lengths[at] for at in group])
                for at, draft in zip(group, made, strict=True):
                    found[at] = draft
        return found

    def _group(self, asked: Sequence[DraftRequest], lengths: Sequence[int]) -> list[Draft]:
        lanes = [self._kv.enter(at, each) for at, each in enumerate(asked)]
        tokens = [token for lane in lanes for token in lane.asked.tokens[lane.known : lane.computed + 1]]
        logits = self._logits([lane.catching_up() for lane in lanes], tokens)
        for lane in lanes:
            self._kv.settle(lane)
        going = [
            Going(lane, length, history_of(lane.asked, self._vocab))
            for lane, length in zip(lanes, lengths, strict=True)
        ]
        drafting = going
        while True:
            for each, raw in zip(drafting, logits, strict=True):
                each.take(raw)
            drafting = [each for each in drafting if len(each.tokens) < each.length]
            if not drafting:
                return [each.draft() for each in going]
            spans = [each.lane.next_span(len(each.tokens)) for each in drafting]
            logits = self._logits(spans, [each.tokens[-1] for each in drafting])

    @property
    def _vocab(self) -> int:
        return self._decoder.config.vocab_size

    def _logits(self, spans: Sequence[Span], tokens: Sequence[int]) -> Floats:
        """`[spans, vocab]`: what follows the last token of each."""
        batch = Batch.build(spans, tokens, self._kv.block_size)
        found: Floats = run(self._decoder.stages(batch, self._kv.pool)).numpy()
        return found


@dataclass(slots=True)
class Going:
    """A draft under way."""

    lane: Lane
    length: int
    history: TokenHistory | None
    tokens: list[int] = field(default_factory=list)
    spreads: list[Spread] = field(default_factory=list)

    def take(self, raw: Floats) -> None:
        """Draft the next token from the drafting model's logits [vocab]."""
        asked = self.lane.asked
        seen = None if self.history is None else self.history.seen()
        position = asked.position + len(self.tokens)
        row = SamplerRow(asked.request, asked.params, asked.seed, asked.sample, position, seen)
        token, spread = draw(raw, row)
        self.tokens.append(token)
        if spread is not None:
            self.spreads.append(spread)
        if self.history is not None:
            self.history.append(token)

    def draft(self) -> Draft:
        return Draft.drawn(self.tokens, self.spreads) if self.spreads else Draft.sure(self.tokens)


def history_of(asked: DraftRequest, vocab_size: int) -> TokenHistory | None:
    """What the penalties of a request count; None where it has none."""
    params = asked.params
    if params.repetition_penalty == 1.0 and not params.presence_penalty and not params.frequency_penalty:
        return None
    return TokenHistory(asked.tokens[: asked.prompt_tokens], asked.tokens[asked.prompt_tokens :], vocab_size)


def check_vocabularies(folder: Path, draft: Decoder, target: Path, decoder: Decoder) -> None:
    """Raise ModelError unless both models mean the same by a token id."""
    sizes = draft.config.vocab_size, decoder.config.vocab_size
    what = f"draft model {folder.name} cannot draft for {target.name}"
    if sizes[0] != sizes[1]:
        raise ModelError(f"{what}: its vocabulary has {sizes[0]} tokens and the model's {sizes[1]}")
    try:
        mine, other = (Tokenizer.from_folder(each).vocabulary for each in (folder, target))
    except TextError as error:
        raise ModelError(f"{what}: {error}") from error
    differing = next((text for text, token in mine.items() if other.get(text) != token), None)
    if differing is not None:
        raise ModelError(
            f"{what}: token {mine[differing]} is {differing!r} in its tokenizer and not in the model's"
        )
