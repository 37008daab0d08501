"""Blocks that go to host files and come back: the tensors of it, before a step's pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from torch import Tensor

from engine.capture import Taken
from engine.events import Work
from engine.execution import Job, Load, Lost, Outcome, Slice
from engine.forward import Choose
from engine.kv.pool import KVPool
from engine.kv.writes import WriteClock
from engine.plug_guard import ContractError, PluginFailedError, call_hook
from engine.plugs import Plugs
from engine.plugs_kv import KVHost


class Computing(Protocol):
    """Who holds the pool, and can compute K and V of a slice again."""

    pool: KVPool
    plugs: Plugs
    writes: WriteClock

    def compute_again(self, part: Slice) -> None: ...


def exchange(job: Job, executor: Computing) -> tuple[Lost, ...]:
    """Write what `job` offloads, read what it loads, and compute what cannot be read; what was lost on the way.

    Files are written before their blocks are taken by others, and deleted once all that is read has been.
    """
    host = executor.plugs.kv_host
    run = _Exchange(executor, *host) if host is not None else _Exchange(executor)
    lost = [*run.write(job), *(each for load in job.loads for each in run.read(load))]
    run.forget(job)
    return tuple(lost)


def telling(lost: Sequence[Lost], choose: Choose) -> Choose:
    """`choose`, whose outcome tells what was lost as well."""

    def chosen(job: Job, logits: Tensor, forward_ns: int, captured: Sequence[Taken]) -> Outcome:
        return replace(choose(job, logits, forward_ns, captured), lost=lost)

    return chosen


@dataclass(frozen=True, slots=True)
class _Exchange:
    executor: Computing
    plugin: str = ""
    host: KVHost | None = None

    def write(self, job: Job) -> Iterator[Lost]:
        for event in job.offloads:
            for block, hash_ in zip(event.blocks, event.hashes, strict=True):
                try:
                    self._keep(hash_, [held[self._slots(block)] for held in self.executor.pool.held])
                except PluginFailedError as failure:
                    yield Lost(hash_, None, failure.message)

    def read(self, load: Load) -> Iterator[Lost]:
        """The blocks of `load` in their order: one that is computed attends to those before it."""
        event = load.event
        for offset, (block, hash_) in enumerate(zip(event.blocks, event.hashes, strict=True)):
            self.executor.writes.wrote(self._slots(block))
            try:
                self._put(block, self._give(hash_))
            except PluginFailedError as failure:
                self.executor.compute_again(_block_of(load.part, offset, self.executor.pool.block_size))
                yield Lost(hash_, event.request, failure.message)

    def forget(self, job: Job) -> None:
        host = self.host
        if host is None:
            return
        for hash_ in job.forgotten:
            try:
                call_hook(self.plugin, "forget_block", partial(host.forget_block, hash_), None)
            except PluginFailedError:  # it is not asked for again
                continue

    def _keep(self, hash_: int, tensors: Sequence[Tensor]) -> None:
        host = self._there()
        call_hook(self.plugin, "keep_block", lambda: host.keep_block(hash_, tensors), None)

    def _give(self, hash_: int) -> Sequence[Tensor]:
        host = self._there()
        return call_hook(self.plugin, "give_block", lambda: self._checked(host.give_block(hash_)), None)

    def _there(self) -> KVHost:
        if self.host is None:
            raise PluginFailedError(self.plugin, "give_block", "raised", "nobody keeps blocks here")
        return self.host

    def _checked(self, tensors: Sequence[Any]) -> Sequence[Tensor]:
        """Raise ContractError unless these are what the pool holds of a block."""
        expected = [(held[self._slots(0)].shape, held.dtype) for held in self.executor.pool.held]
        if [(tensor.shape, tensor.dtype) for tensor in tensors] != expected:
            raise ContractError("it holds tensors of another shape or type than the pool's")
        return tensors

    def _put(self, block: int, tensors: Sequence[Tensor]) -> None:
        for held, tensor in zip(self.executor.pool.held, tensors, strict=True):
            held[self._slots(block)] = tensor

    def _slots(self, block: int) -> slice:
        size = self.executor.pool.block_size
        return slice(block * size, (block + 1) * size)


def _block_of(part: Slice, offset: int, block_size: int) -> Slice:
    """The rows of the `offset`-th block of a slice."""
    first = offset * block_size
    work = Work(part.work.request, "prefill", part.work.start + first, block_size)
    return replace(part, work=work, token_ids=part.token_ids[first : first + block_size])
