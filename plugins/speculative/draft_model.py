"""A small model that drafts for a large one: a pass over what is missing, then a pass for each further token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from engine.drafting import Draft
from engine.drafts import DraftRequest
from engine.executor import TorchExecutor
from engine.model.batch import Batch, Span
from engine.model.decoder import Decoder, run
from engine.model.errors import ModelError
from engine.model.weights import load_decoder
from engine.text.errors import TextError
from engine.text.tokenizer import Tokenizer
from plugins.speculative.draft_kv import DraftKV
from plugins.speculative.going import Floats, Going, MakeGoing, go_on

MOST_LANES: Final = 32
"""So many requests are drafted for in one pass; others in the next."""


class DraftModel:
    """Drafts up to `most` tokens for each request, drawn as the request's own settings draw."""

    def __init__(self, folder: Path, executor: TorchExecutor, target: Path, most: int) -> None:
        """Load the model in `folder`. Raises ModelError where it cannot draft for the one in `target`."""
        self._decoder = load_decoder(folder, executor.decoder.dtype)
        check_vocabularies(folder, self._decoder, target, executor.decoder)
        self._kv = DraftKV(self._decoder.config, executor.pool, MOST_LANES, most)

    def drafts(
        self, asked: Sequence[DraftRequest], lengths: Sequence[int], make: MakeGoing = Going
    ) -> list[Draft | None]:
        """A draft of so many tokens for each request; None where the drafting model's context ends before."""
        context = self._decoder.config.context_tokens
        fits = [at for at, each in enumerate(asked) if len(each.tokens) + lengths[at] <= context]
        found: list[Draft | None] = [None] * len(asked)
        with torch.inference_mode():
            for start in range(0, len(fits), MOST_LANES):
                group = fits[start : start + MOST_LANES]
                made = self._group([asked[at] for at in group], [lengths[at] for at in group], make)
                for at, draft in zip(group, made, strict=True):
                    found[at] = draft
        return found

    def _group(self, asked: Sequence[DraftRequest], lengths: Sequence[int], make: MakeGoing) -> list[Draft]:
        lanes = [self._kv.enter(at, each) for at, each in enumerate(asked)]
        tokens = [token for lane in lanes for token in lane.asked.tokens[lane.known : lane.computed + 1]]
        logits = self._logits([lane.catching_up() for lane in lanes], tokens)
        for lane in lanes:
            self._kv.settle(lane)
        vocab = self._decoder.config.vocab_size
        going = [make(lane, length, vocab) for lane, length in zip(lanes, lengths, strict=True)]
        return go_on(going, logits, self._logits)

    def _logits(self, spans: Sequence[Span], tokens: Sequence[int]) -> Floats:
        """`[spans, vocab]`: what follows the last token of each."""
        batch = Batch.build(spans, tokens, self._kv.block_size)
        found: Floats = run(self._decoder.stages(batch, self._kv.pool)).numpy()
        return found


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
