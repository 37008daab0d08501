"""A step's tensors: blocks copied, the batch run through the decoder, tokens chosen from its logits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from engine.capture import Taken, Wanted
from engine.capturing import Keeper
from engine.changed_logits import Processed
from engine.details import TokenDetails
from engine.execution import NO_DETAILS, Choice, Job, Outcome, Processing
from engine.explain import explain
from engine.forward import TorchForward, Watcher
from engine.inspection import Inspector
from engine.kv.pool import KVPool
from engine.kv.writes import WriteClock
from engine.lens import LayerLooker
from engine.model.batch import Batch, Span
from engine.model.decoder import Decoder
from engine.plugs import Plugs
from engine.protocol import Inspect, Inspection, LayersSeen, LookLayers
from engine.row_again import RowAgain
from engine.sampler_rows import SamplerRows
from engine.sampling import Choices, SamplerRow, choose
from engine.scaling import Scaler
from engine.state import State
from engine.tokens import TokenLog

NOT_PROCESSED = Processing()


class TorchExecutor:
    """Runs jobs on `decoder` over `pool`; `seed` is the engine's, for requests that bring none.

    Outcomes carry what is `wanted` of the rows that chose tokens. `plugs` are asked before each choice.
    """

    def __init__(
        self, decoder: Decoder, pool: KVPool, seed: int, wanted: Wanted | None = None, plugs: Plugs | None = None
    ) -> None:
        self.decoder = decoder
        self.pool = pool
        self._wanted = wanted
        self.plugs = plugs or Plugs()
        self._rows = SamplerRows(seed, decoder.config.vocab_size)
        self.writes = WriteClock(pool.num_slots)

    def execute(self, job: Job) -> Outcome:
        return self.begin(job).finish()

    def begin(self, job: Job) -> TorchForward:
        """Copy the job's blocks and stand before its first stage."""
        clock = time.perf_counter_ns()
        self.writes.tick()
        for copy in job.copies:
            self.pool.copy_block(copy.source, copy.block, copy.tokens)
            start = copy.block * self.pool.block_size
            self.writes.wrote(slice(start, start + copy.tokens))
        batch = self.batch_of(job)
        self.writes.wrote(batch.write_slots.numpy())
        watchers, taken = self._watchers(job, batch)
        stages = self.decoder.stages(batch, self.pool)
        return TorchForward(job, batch, stages, watchers, taken, self._choose, time.perf_counter_ns() - clock)

    def _watchers(self, job: Job, batch: Batch) -> tuple[Sequence[Watcher], Sequence[Taken]]:
        """Who looks on: whoever changes stages comes first, so that what is captured is what was computed."""
        watchers: list[Watcher] = []
        if any(part.intervened for part in job.slices):
            watchers.append(Scaler(job.slices, batch))
        if not self._wanted:
            return watchers, ()
        keeper = Keeper(self.decoder, self.pool, batch, job.choices, self._wanted)
        return [*watchers, keeper], keeper.taken

    def _choose(self, job: Job, found: Tensor, forward_ns: int, captured: Sequence[Taken]) -> Outcome:
        if not job.choices:
            return Outcome((), (), NO_DETAILS, forward_ns, 0)
        clock = time.perf_counter_ns()
        logits = _rows_of(found, job).numpy()
        processing = self._process(logits, job)
        rows = [self._row(choice, each.done) for choice, each in zip(job.choices, processing, strict=True)]
        choices = choose(logits, rows)
        sampled_ns = time.perf_counter_ns() - clock
        details = Explanation(logits, rows, choices)
        return Outcome(choices.tokens, choices.draws, details, forward_ns, sampled_ns, captured, processing)

    def batch_of(self, job: Job) -> Batch:
        """The job's slices as the decoder takes them; logits only where a token is chosen."""
        chosen = {choice.row for choice in job.choices}
        spans = [
            Span(
                part.work.request, part.work.start, part.work.tokens, part.table,
                logit_rows=int(row in chosen), prompt_tokens=part.prompt_tokens, adapter=part.adapter,
                dropped=part.dropped,
            )
            for row, part in enumerate(job.slices)
        ]  # fmt: skip
        tokens = [token for part in job.slices for token in part.token_ids]
        return Batch.build(spans, tokens, self.pool.block_size)

    def forget(self, request: str) -> None:
        self._rows.forget(request)

    def inspect(self, state: State, log: TokenLog, command: Inspect) -> Inspection:
        return Inspector(self.decoder, self.pool, state, log).inspect(command)

    def look(self, state: State, log: TokenLog, command: LookLayers) -> LayersSeen:
        return LayerLooker(RowAgain(self.decoder, self.pool, state, log)).look(command)

    def _process(self, logits: npt.NDArray[np.float32], job: Job) -> Sequence[Processing]:
        """Ask the logits processors about each choice, or take what they did when the step was recorded."""
        if job.processing is not None:
            return [Processing(job.processing.get(choice.request, ())) for choice in job.choices]
        if not self.plugs.processors:
            return [NOT_PROCESSED] * len(job.choices)
        return [
            Processing(*self.plugs.process(raw, choice.request, choice.prompt_tokens, choice.tokens))
            for raw, choice in zip(logits.astype(np.float32, copy=False), job.choices, strict=True)
        ]

    def _row(self, choice: Choice, processed: tuple[Processed, ...] = ()) -> SamplerRow:
        return self._rows.row(
            choice.request, choice.params, choice.sample, choice.prompt_tokens, choice.tokens, processed
        )


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
