"""A recorded run's forward passes run again up to one row: with its plans, its block tables, its batches.

What the row read is then in the pool as it was in the run, whatever put it there: a slot that somebody wrote
over is written over again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.divergence_measures import perturbed
from engine.execution import Job, Slice
from engine.executor import TorchExecutor
from engine.forward import TorchForward
from engine.kv.holes import HOLE
from engine.kv.pool import KVPool, MakePool
from engine.model.decoder import Decoder
from engine.model.stage_names import LAST_STAGES

OWN_THREADS = torch.get_num_threads()
Place = tuple[int, str]
"""Layer and stage."""
Told = Callable[[int, int], None]
"""Told how many passes of how many have run."""


def untold(_done: int, _total: int) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a run: its value at every stage, and K and V of the positions before it.

    `context` has for each layer `[position, 2, kv_heads, head_dim]`; it may be missing stages, as the logits
    of a row that chose nothing.
    """

    position: int
    stages: dict[Place, Tensor]
    context: Sequence[Tensor]


@dataclass(frozen=True, slots=True)
class Written:
    """Who wrote a slot last: a position of a request, in the job of that index."""

    request: str
    position: int
    job: int


@dataclass(slots=True)
class Rebuilt:
    """The run whose `jobs` led to the row `position` of `request`, which the last of them computes."""

    decoder: Decoder
    num_blocks: int
    block_size: int
    jobs: Sequence[Job]
    request: str
    position: int
    told: Told = untold
    threads: int | None = None
    make_pool: MakePool = KVPool
    _standing: tuple[int, TorchExecutor] | None = field(default=None, repr=False)

    @property
    def dtype(self) -> torch.dtype:
        return self.decoder.dtype

    @property
    def thinned(self) -> bool:
        """Whether the row goes without blocks that a KV policy dropped."""
        return any(part.dropped for part in self.jobs[-1].slices if part.work.request == self.request)

    # -- what the search asks ------------------------------------------------------------------------

    def held(self) -> list[Tensor]:
        """K and V that the row found cached or was computed with: `[position, 2, kv_heads, head_dim]` a layer."""
        executor = self._stand_at(len(self.jobs) - 1)
        with torch.inference_mode():
            self._finish(executor)
            return self._gather(executor.pool, self._table, self.position)

    def row(self, position: int) -> Row:
        """The row of `position` as this run computed it."""
        index = self.job_of(position)
        executor, part = self._stand_at(index), self._part_of(index, position)
        stages: dict[Place, Tensor] = {}
        with torch.inference_mode():
            for layer, stage, tensor in self._pass(executor, index, part, position):
                stages[layer, stage] = tensor.clone()
            context = self._gather(executor.pool, part.table, position)
        return Row(position, stages, context)

    def forced(self, other: Row, noise: float = 0.0, seed: int = 0) -> dict[Place, Tensor]:
        """What each stage of this run makes of the values that `other` had before it, off by `noise`.

        The row is that of `other.position`; the keys and values it reads are those of `other` too.
        """
        index = self.job_of(other.position)
        executor, part = self._stand_at(index), self._part_of(index, other.position)
        source = torch.Generator().manual_seed(seed)

        def given(value: Tensor) -> Tensor:
            return perturbed(value, noise, source) if noise else value

        made: dict[Place, Tensor] = {}
        with torch.inference_mode():
            context = [given(layer) for layer in other.context]
            before = min(part.work.start, other.position)
            own = self._aside(executor.pool, part.table, before)
            self._scatter(executor.pool, part.table, context, before)
            passing = self._pass(executor, index, part, other.position, context)
            for layer, stage, tensor in passing:
                made[layer, stage] = tensor.clone()
                if (value := other.stages.get((layer, stage))) is not None:
                    tensor.copy_(given(value).view_as(tensor))
            executor.pool.copy_slots(own, torch.arange(before), self._slots(part.table, before))
        return made

    def written(self, position: int) -> Written | None:
        """Who had last written the slot that the row found at `position`."""
        slot, found = self._slot(self._table, position), None
        for index, job in enumerate(self.jobs):
            for copy in job.copies:
                if copy.block * self.block_size <= slot < copy.block * self.block_size + copy.tokens:
                    offset = slot - copy.block * self.block_size
                    found = self._last_writer(copy.source * self.block_size + offset, index)
            found = self._writer_in(index, slot) or found
        return found

    def job_of(self, position: int) -> int:
        """The index of the job that computed `position`: for the request, or for whom it shares blocks with."""
        for index in reversed(range(len(self.jobs))):
            if any(
                part.work.request == self.request and _covers(part, position) for part in self.jobs[index].slices
            ):
                return index
        writer = self.written(position)
        if writer is None or writer.position != position:
            raise LookupError(f"nobody computed position {position} of request {self.request}")
        return writer.job

    # -- running -------------------------------------------------------------------------------------

    def _stand_at(self, index: int) -> TorchExecutor:
        """An executor whose pool is as it was before job `index`; what runs next has the run's threads."""
        torch.set_num_threads(self.threads or OWN_THREADS)
        if self._standing is None or self._standing[0] != index:
            self._standing = None
            self._standing = (index, self._replay(index))
        return self._standing[1]

    def _replay(self, count: int) -> TorchExecutor:
        pool = self.make_pool(self.decoder.config, self.num_blocks, self.block_size, self.decoder.dtype)
        executor = TorchExecutor(self.decoder, pool, seed=0)
        for done, job in enumerate(self.jobs[:count]):
            self.told(done, count)
            _exhaust(executor.begin(job))
        self.told(count, count)
        return executor

    def _finish(self, executor: TorchExecutor) -> None:
        _exhaust(executor.begin(self.jobs[-1]))

    def _pass(
        self, executor: TorchExecutor, index: int, part: Slice, position: int, context: Sequence[Tensor] = ()
    ) -> _Watched:
        return _Watched(executor.begin(self.jobs[index]), part, position, context)

    def _part_of(self, index: int, position: int) -> Slice:
        parts = [part for part in self.jobs[index].slices if _covers(part, position)]
        own = [part for part in parts if part.work.request == self.request]
        if own:
            return own[0]
        writer = self.written(position)
        return next(part for part in parts if writer is not None and part.work.request == writer.request)

    # -- slots ---------------------------------------------------------------------------------------

    @property
    def _table(self) -> Sequence[int]:
        last = self.jobs[-1]
        return next(part.table for part in last.slices if part.work.request == self.request)

    def _slot(self, table: Sequence[int], position: int) -> int:
        block = table[position // self.block_size]
        block = table[-1] if block == HOLE else block  # one that no row reads; a slot must have an owner
        return block * self.block_size + position % self.block_size

    def _slots(self, table: Sequence[int], count: int) -> Tensor:
        return torch.tensor([self._slot(table, position) for position in range(count)], dtype=torch.int64)

    def _gather(self, pool: KVPool, table: Sequence[int], count: int) -> list[Tensor]:
        slots = self._slots(table, count)
        return [pool.gather(layer, slots) for layer in range(len(pool.layers))]

    def _aside(self, pool: KVPool, table: Sequence[int], count: int) -> KVPool:
        """The first `count` positions as the pool keeps them, in a pool of their own."""
        aside = pool.another(max(1, -(-count // self.block_size)))
        aside.copy_slots(pool, self._slots(table, count), torch.arange(count))
        return aside

    def _scatter(self, pool: KVPool, table: Sequence[int], context: Sequence[Tensor], count: int) -> None:
        slots = self._slots(table, count)
        for layer, kv in enumerate(context):
            pool.write(layer, slots, kv[:count].to(pool.dtype))

    def _writer_in(self, index: int, slot: int) -> Written | None:
        block, offset = divmod(slot, self.block_size)
        job = self.jobs[index]
        for part in (*job.slices, *(load.part for load in job.loads)):
            for at, held in enumerate(part.table):
                position = at * self.block_size + offset
                if held == block and _covers(part, position):
                    return Written(part.work.request, position, index)
        return None

    def _last_writer(self, slot: int, before: int) -> Written | None:
        found = (self._writer_in(index, slot) for index in reversed(range(before)))
        return next((writer for writer in found if writer is not None), None)


class _Watched:
    """A pass of which one row is seen stage by stage; rows before it in its slice take K and V of `context`."""

    def __init__(self, forward: TorchForward, part: Slice, position: int, context: Sequence[Tensor]) -> None:
        self._forward = forward
        self._part = part
        self._position = position
        self._context = context

    def __iter__(self) -> _Watched:
        return self

    def __next__(self) -> tuple[int, str, Tensor]:
        """The next stage of which the row has a value: a view into the forward's own tensor."""
        while (point := self._forward.next()) is not None:
            rows = self._forward.rows(self._part.work.request, point.stage)
            before = self._position - self._part.work.start
            self._give_context(point.layer, point.stage, point.tensor[rows], before)
            count = rows.stop - rows.start
            row = before if point.stage not in LAST_STAGES else before - (self._part.work.tokens - count)
            if 0 <= row < count:
                return point.layer, point.stage, point.tensor[rows][row]
        raise StopIteration

    def _give_context(self, layer: int, stage: str, rows: Tensor, before: int) -> None:
        if self._context and before and stage in ("k_rot", "v"):
            own = self._context[layer][self._part.work.start : self._position]
            rows[:before].copy_(own[:, 0 if stage == "k_rot" else 1])


def _covers(part: Slice, position: int) -> bool:
    return part.work.start <= position < part.work.stop


def _exhaust(forward: TorchForward) -> None:
    """Run a pass to its end; nothing is chosen."""
    while forward.next() is not None:
        pass
