"""Who a row of logits is sampled for: settings, seed, and the tokens that penalties count. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from engine.changed_logits import Processed
from engine.draws import request_seed
from engine.history import SeenTokens, TokenHistory
from engine.params import SamplingParams
from engine.sampling import SamplerRow


class SamplerRows:
    """Makes sampler rows under the engine's seed, and keeps count of the tokens of penalised requests."""

    def __init__(self, seed: int, vocab_size: int) -> None:
        self._seed = seed
        self._vocab_size = vocab_size
        self._seeds: dict[str, int] = {}
        self._histories: dict[str, _History] = {}

    def row(
        self,
        request: str,
        params: SamplingParams,
        sample: int,
        prompt_tokens: int,
        tokens: Sequence[int],
        processed: tuple[Processed, ...] = (),
    ) -> SamplerRow:
        """The row that chooses what follows `tokens`, the prompt and output of `request` so far.

        `processed` is what logits processors changed of it.
        """
        seed = self._seeds.get(request)
        if seed is None:
            seed = self._seeds[request] = seed_of(self._seed, request, params)
        seen = self._seen(request, prompt_tokens, tokens) if _penalised(params) else None
        return SamplerRow(request, params, seed, sample, len(tokens), seen, processed)

    def forget(self, request: str) -> None:
        self._seeds.pop(request, None)
        self._histories.pop(request, None)

    def _seen(self, request: str, prompt_tokens: int, tokens: Sequence[int]) -> SeenTokens:
        history = self._histories.get(request)
        if history is None or history.length > len(tokens):
            history = _History(tokens[:prompt_tokens], self._vocab_size)
            self._histories[request] = history
        return history.upto(tokens)


class _History:
    """Counts of one request's tokens, brought up to date when its next token is chosen."""

    def __init__(self, prompt: Sequence[int], vocab_size: int) -> None:
        self.length = len(prompt)
        self._counts = TokenHistory(prompt, (), vocab_size)

    def upto(self, tokens: Sequence[int]) -> SeenTokens:
        for token in tokens[self.length :]:
            self._counts.append(token)
        self.length = len(tokens)
        return self._counts.seen()


def seed_of(engine_seed: int, request: str, params: SamplingParams) -> int:
    """The seed of a request's draws: its own, or one derived from the engine's and the request's number."""
    if params.seed is not None:
        return params.seed
    return request_seed(engine_seed, request.partition(".")[0])


def _penalised(params: SamplingParams) -> bool:
    return params.repetition_penalty != 1.0 or params.presence_penalty != 0.0 or params.frequency_penalty != 0.0
