"""A step's tensors: blocks copied, the batch run through the decoder, tokens chosen from its logits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.capture import Taken, Wanted
from engine.capturing import run_capturing
from engine.details import TokenDetails
from engine.execution import NO_DETAILS, Choice, Job, Outcome
from engine.explain import explain
from engine.inspection import Inspector
from engine.kv.pool import KVPool
from engine.model.batch import Batch, Span
from engine.model.decoder import Decoder, run
from engine.protocol import Inspect, Inspection
from engine.sampler_rows import SamplerRows
from engine.sampling import Choices, SamplerRow, choose
from engine.state import State
from engine.tokens import TokenLog


class TorchExecutor:
    """Runs jobs on `decoder` over `pool`; `seed` is the engine's, for requests that bring none.

    Outcomes carry what is `wanted` of the rows that chose tokens.
    """

    def __init__(self, decoder: Decoder, pool: KVPool, seed: int, wanted: Wanted | None = None) -> None:
        self.decoder = decoder
        self.pool = pool
        self._wanted = wanted
        self._rows = SamplerRows(seed, decoder.config.vocab_size)

    def execute(self, job: Job) -> Outcome:
        clock = time.perf_counter_ns()
        for copy in job.copies:
            self.pool.copy_block(copy.source, copy.block, copy.tokens)
        captured: Sequence[Taken] = ()
        with torch.inference_mode():
            batch = self.batch_of(job)
            if self._wanted:
                found, captured = run_capturing(self.decoder, self.pool, batch, job.choices, self._wanted)
            else:
                found = run(self.decoder.stages(batch, self.pool))
            logits = _rows_of(found, job).numpy()
        computed = time.perf_counter_ns()
        if not job.choices:
            return Outcome((), (), NO_DETAILS, computed - clock, 0)
        rows = [self._row(choice) for choice in job.choices]
        choices = choose(logits, rows)
        sampled = time.perf_counter_ns()
        details = Explanation(logits, rows, choices)
        return Outcome(choices.tokens, choices.draws, details, computed - clock, sampled - computed, captured)

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
        self._rows.forget(request)

    def inspect(self, state: State, log: TokenLog, command: Inspect) -> Inspection:
        return Inspector(self.decoder, self.pool, state, log).inspect(command)

    def _row(self, choice: Choice) -> SamplerRow:
        return self._rows.row(choice.request, choice.params, choice.sample, choice.prompt_tokens, choice.tokens)


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """The details of one step's tokens, worked out when called."""

    logits: npt.NDArray[np.float32]
    rows: Sequence[SamplerRow]
    choices: Choices

    def __call__(self) -> Sequence[TokenDetails]:
        return explain(self.logits, self.rows, self.choices)


def _rows_of(logits: Tensor, job: Job) -> Tensor:
    """`[choices, vocab]`: samples that share a prefill share its row."""
    order = {row: at for at, row in enumerate(dict.fromkeys(choice.row for choice in job.choices))}
    if len(order) == len(job.choices):
        return logits
    return logits[[order[choice.row] for choice in job.choices]]
