"""A step's tensors: blocks copied, the batch run through the decoder, tokens chosen from its logits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from engine.draws import request_seed
from engine.execution import Choice, Job, Outcome
from engine.explain import explain
from engine.history import SeenTokens, TokenHistory
from engine.kv.pool import KVPool
from engine.model.batch import Batch, Span
from engine.model.decoder import Decoder, run
from engine.params import SamplingParams
from engine.sampling import SamplerRow, choose


class TorchExecutor:
    """Runs jobs on `decoder` over `pool`; `seed` is the engine's, for requests that bring none."""

    def __init__(self, decoder: Decoder, pool: KVPool, seed: int) -> None:
        self.decoder = decoder
        self.pool = pool
        self._seed = seed
        self._histories: dict[str, _History] = {}

    def execute(self, job: Job) -> Outcome:
        clock = time.perf_counter_ns()
        for copy in job.copies:
            self.pool.copy_block(copy.source, copy.block, copy.tokens)
        with torch.inference_mode():
            logits = _rows_of(run(self.decoder.stages(self.batch_of(job), self.pool)), job)
        computed = time.perf_counter_ns()
        if not job.choices:
            return Outcome((), (), tuple, computed - clock, 0)
        rows = [self._row(choice) for choice in job.choices]
        choices = choose(logits.numpy(), rows)
        sampled = time.perf_counter_ns()
        details = partial(explain, logits.numpy(), rows, choices)
        return Outcome(choices.tokens, choices.draws, details, computed - clock, sampled - computed)

    def batch_of(self, job: Job) -> Batch:
        """The job's slices as the decoder takes them; logits only where a token is chosen."""
        chosen = {choice.row for choice in job.choices}
        spans = [
            Span(
                part.work.request, part.work.start, part.work.tokens, part.table,
                logit_rows=int(row in chosen), prompt_tokens=part.prompt_tokens,
            )
            for row, part in enumerate(job.slices)
        ]  # fmt: skip
        tokens = [token for part in job.slices for token in part.token_ids]
        return Batch.build(spans, tokens, self.pool.block_size)

    def forget(self, request: str) -> None:
        self._histories.pop(request, None)

    def _row(self, choice: Choice) -> SamplerRow:
        return SamplerRow(
            choice.request, choice.params, seed_of(self._seed, choice.request, choice.params), choice.sample,
            choice.position, self._seen(choice),
        )  # fmt: skip

    def _seen(self, choice: Choice) -> SeenTokens | None:
        if not _penalised(choice.params):
            return None
        history = self._histories.get(choice.request)
        if history is None or history.length > len(choice.tokens):
            history = _History(choice, self.decoder.config.vocab_size)
            self._histories[choice.request] = history
        return history.upto(choice.tokens)


class _History:
    """Counts of one request's tokens, brought up to date when its next token is chosen."""

    def __init__(self, choice: Choice, vocab_size: int) -> None:
        self.length = choice.prompt_tokens
        self._counts = TokenHistory(choice.tokens[: self.length], (), vocab_size)

    def upto(self, tokens: Sequence[int]) -> SeenTokens:
        for token in tokens[self.length :]:
            self._counts.append(token)
        self.length = len(tokens)
        return self._counts.seen()


def seed_of(engine_seed: int, request: str, params: SamplingParams) -> int:
    """The seed of a request's draws: its own, or one derived from the engine's and its number."""
    if params.seed is not None:
        return params.seed
    return request_seed(engine_seed, request.partition(".")[0])


def _penalised(params: SamplingParams) -> bool:
    return params.repetition_penalty != 1.0 or params.presence_penalty != 0.0 or params.frequency_penalty != 0.0


def _rows_of(logits: Tensor, job: Job) -> Tensor:
    """`[choices, vocab]`: samples that share a prefill share its row."""
    order = {row: at for at, row in enumerate(dict.fromkeys(choice.row for choice in job.choices))}
    if len(order) == len(job.choices):
        return logits
    return logits[[order[choice.row] for choice in job.choices]]
