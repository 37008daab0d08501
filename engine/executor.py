"""A step's tensors: blocks copied, the batch run through the decoder, tokens chosen from its logits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.beam_rows import BeamRow
from engine.capture import Taken, Wanted
from engine.capturing import Keeper
from engine.changed_logits import Processed
from engine.details import TokenDetails
from engine.execution import NO_DETAILS, Choice, Job, Outcome, Processing, RecordedProcessing, Slice
from engine.explain import explain
from engine.forward import Choose, TorchForward, Watcher
from engine.inspection import Inspector
from engine.kv.pool import KVPool
from engine.kv.scratch import ScratchPool
from engine.kv.writes import WriteClock
from engine.lens import LayerLooker
from engine.model.batch import Batch, Span
from engine.model.decoder import Decoder
from engine.offloading import exchange, telling
from engine.plugs import Plugs
from engine.protocol import Inspect, Inspection, LayersSeen, LookLayers
from engine.ranking import Row
from engine.row_again import RowAgain
from engine.sampler_rows import SamplerRows
from engine.sampling import Choices, SamplerRow, choose
from engine.scaling import Scaler
from engine.state import State
from engine.tokens import TokenLog
from engine.trees import Branch, Move, branches_of, logit_rows, moves, rows_of_choices
from engine.verifying import Verifying
from engine.weighing import Weigher

NOT_PROCESSED = Processing()
Floats = npt.NDArray[np.float32]


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
        self._scratch: ScratchPool | None = None

    def execute(self, job: Job) -> Outcome:
        return self.begin(job).finish()

    def begin(self, job: Job) -> TorchForward:
        """Copy the job's blocks and stand before its first stage."""
        clock = time.perf_counter_ns()
        self.writes.tick()
        lost = exchange(job, self) if job.offloads or job.loads else ()
        for copy in job.copies:
            self.pool.copy_block(copy.source, copy.block, copy.tokens)
            start = copy.block * self.pool.block_size
            self.writes.wrote(slice(start, start + copy.tokens))
        branches = self._branches(job)
        pool = self._pool_for(branches)
        batch = self.batch_of(job, branches)
        slots = batch.write_slots.numpy()
        self.writes.wrote(slots[slots < self.pool.num_slots])
        watchers, taken = self._watchers(job, batch)
        stages = self.decoder.stages(batch, pool)
        choose: Choose = self._choose
        if (weigher := self._weigher(job, batch)) is not None:
            watchers, choose = [*watchers, weigher], weigher.beside(choose)
        if lost:
            choose = telling(lost, choose)
        return TorchForward(job, batch, stages, watchers, taken, choose, time.perf_counter_ns() - clock)

    def _weigher(self, job: Job, batch: Batch) -> Weigher | None:
        """Who measures attention for the KV policy of the run; None where it wants none of this job."""
        policy = self.plugs.keeps
        return None if policy is None else Weigher.of(job, policy, self.decoder, self.pool, batch)

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
        """Choose from `found` [rows, vocab]; what beams choose depends on all of them, so each gets its row."""
        if not job.beams:
            return self._choose_alone(job, found, forward_ns, captured)
        beams, others = rows_of_beams(job, len(found))
        outcome = self._choose_alone(job, found[others], forward_ns, captured)
        clock = time.perf_counter_ns()
        rows = {choice.request: self._beam_row(choice, found[at].numpy(), job) for choice, at in beams}
        sampled_ns = outcome.sample_ns + time.perf_counter_ns() - clock
        return replace(outcome, beams=rows, sample_ns=sampled_ns)

    def _beam_row(self, choice: Choice, raw: Row, job: Job) -> BeamRow:
        processing = self._processed(raw, choice, choice.tokens, job.processing)
        return BeamRow.of(raw, self._row(choice, choice.tokens, processing.done), processing)

    def _choose_alone(self, job: Job, found: Tensor, forward_ns: int, captured: Sequence[Taken]) -> Outcome:
        if not job.choices:
            return Outcome((), (), NO_DETAILS, forward_ns, 0)
        clock = time.perf_counter_ns()
        if any(choice.draft for choice in job.choices):
            return self._verify(job, found.numpy(), forward_ns, captured)
        logits = _rows_of(found, job).numpy()
        processing = self._process(logits, job)
        pairs = zip(job.choices, processing, strict=True)
        rows = [self._row(choice, choice.tokens, each.done) for choice, each in pairs]
        choices = choose(logits, rows)
        sampled_ns = time.perf_counter_ns() - clock
        details = Explanation(logits, rows, choices)
        return Outcome(choices.tokens, choices.draws, details, forward_ns, sampled_ns, captured, processing)

    def _verify(self, job: Job, logits: Floats, forward_ns: int, captured: Sequence[Taken]) -> Outcome:
        """Choose from `logits` [rows, vocab] where some slices end with drafts."""
        clock = time.perf_counter_ns()
        process = partial(self._processed, recorded=job.processing)
        branches = self._branches(job)
        verifying = Verifying(job, logits, logit_rows(job, branches), process, self._row)
        verifying.run()
        if branches:
            self._keep(moves(job, branches, verifying.checked, self.pool.block_size))
        choices = verifying.choices
        details = Explanation(logits[verifying.used], verifying.rows, choices)
        return Outcome(
            choices.tokens, choices.draws, details, forward_ns, time.perf_counter_ns() - clock, captured,
            verifying.processing, verifying.checked,
        )  # fmt: skip

    def _branches(self, job: Job) -> list[Branch]:
        """The branches of draft trees that have no slots of their requests."""
        return branches_of(job, self.pool.block_size, self.pool.num_slots)

    def _pool_for(self, branches: Sequence[Branch]) -> KVPool:
        """The pool, with as many scratch slots as `branches` write to."""
        blocks = -(-sum(len(branch.nodes) for branch in branches) // self.pool.block_size)
        if blocks == 0:
            return self.pool
        if self._scratch is None or len(self._scratch.held[0]) < blocks * self.pool.block_size:
            self._scratch = ScratchPool(self.pool, blocks)
        return self._scratch

    def _keep(self, moves: Sequence[Move]) -> None:
        """Take K and V of accepted drafts out of scratch slots."""
        if not moves or self._scratch is None:
            return
        slots = [move.slot for move in moves]
        self._scratch.keep([move.scratch for move in moves], slots)
        self.writes.wrote(slots)

    def compute_again(self, part: Slice) -> None:
        """Put K and V of a slice in its slots, and nothing else."""
        batch = self.batch_of(Job((), (part,), ()))
        stages, scaler = self.decoder.stages(batch, self.pool), Scaler((part,), batch)
        with torch.inference_mode():
            for layer, stage, tensor in stages:
                scaler.at(layer, stage, tensor)

    def batch_of(self, job: Job, branches: Sequence[Branch] = ()) -> Batch:
        """The job's slices as the decoder takes them, then `branches`; logits only where a token is chosen."""
        chosen = rows_of_choices(job) | {choice.row: 1 for choice in job.beams}
        spans = [
            Span(
                part.work.request, part.work.start, part.work.tokens, part.table,
                logit_rows=chosen.get(row, 0), prompt_tokens=part.prompt_tokens, adapter=part.adapter,
                dropped=part.dropped,
            )
            for row, part in enumerate(job.slices)
        ]  # fmt: skip
        parts = (*(part.token_ids for part in job.slices), *(branch.tokens for branch in branches))
        tokens = [token for part in parts for token in part]
        return Batch.build([*spans, *(branch.span for branch in branches)], tokens, self.pool.block_size)

    def forget(self, request: str) -> None:
        self._rows.forget(request)

    def inspect(self, state: State, log: TokenLog, command: Inspect) -> Inspection:
        return Inspector(self.decoder, self.pool, state, log).inspect(command)

    def look(self, state: State, log: TokenLog, command: LookLayers) -> LayersSeen:
        return LayerLooker(RowAgain(self.decoder, self.pool, state, log)).look(command)

    def _process(self, logits: Floats, job: Job) -> Sequence[Processing]:
        """What logits processors change of the row of each choice."""
        if job.processing is None and not self.plugs.processors:
            return [NOT_PROCESSED] * len(job.choices)
        pairs = zip(logits, job.choices, strict=True)
        return [self._processed(raw, choice, choice.tokens, job.processing) for raw, choice in pairs]

    def _processed(
        self, raw: Row, choice: Choice, tokens: Sequence[int], recorded: RecordedProcessing | None
    ) -> Processing:
        """Ask the logits processors, or take what they did when the step was recorded."""
        if recorded is not None:
            return Processing(recorded.get((choice.request, len(tokens)), ()))
        if not self.plugs.processors:
            return NOT_PROCESSED
        row = raw.astype(np.float32, copy=False)
        return Processing(*self.plugs.process(row, choice.request, choice.prompt_tokens, tokens))

    def _row(self, choice: Choice, tokens: Sequence[int], processed: tuple[Processed, ...] = ()) -> SamplerRow:
        return self._rows.row(
            choice.request, choice.params, choice.sample, choice.prompt_tokens, tokens, processed
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


def rows_of_beams(job: Job, rows: int) -> tuple[list[tuple[Choice, int]], list[int]]:
    """Which of the logits' `rows` is each beam's, and which are those of other choices."""
    own, counts = {choice.row: choice for choice in job.beams}, rows_of_choices(job)
    beams: list[tuple[Choice, int]] = []
    others: list[int] = []
    at = 0
    for row in sorted(own.keys() | counts.keys()):
        if row in own:
            beams.append((own[row], at))
        else:
            others += range(at, at + counts[row])
        at += counts.get(row, 1)
    return beams, [*others, *range(at, rows)]
