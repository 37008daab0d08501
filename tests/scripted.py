"""An executor without a model: what its KV slots hold, and so the next token, is a function of what it reads.

Like a key of a real model, the value in a slot depends on every token before it. The executor reads it all back
through the block table, so a wrong table, a missed copy or a stale prefix hit changes the tokens.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from engine.acceptance import Checked, verify
from engine.beam_rows import BeamRow
from engine.engine import Engine, Sink
from engine.execution import NO_DETAILS, Choice, Job, Limits, Lost, Outcome, Point, Processing, Slice
from engine.kv.holes import Drops
from engine.kv.writes import WriteClock
from engine.params import EngineOptions, RequestSpec, SamplingParams
from engine.protocol import Inspect, Inspection
from engine.sampling import SamplerRow
from engine.state import State
from engine.timeline import Timeline
from engine.tokens import TokenLog
from engine.trees import Branch, branches_of, moves

VOCAB = 50
UNWRITTEN = -1


def slot_value(before: int, token: int, holes: Sequence[int] = ()) -> int:
    """What the slot of `token` holds after a position whose slot holds `before` (0 at the start).

    `holes` are the table indexes of blocks that its row does not read.
    """
    return zlib.crc32(array("q", [before, token, *holes]).tobytes())


def next_token(slots: Sequence[int], sample: int = 0) -> int:
    """What follows a sequence whose slots hold `slots`."""
    return zlib.crc32(array("q", [*slots, sample]).tobytes()) % VOCAB


def next_logits(slots: Sequence[int]) -> npt.NDArray[np.float32]:
    """The logits [vocab] from which beams go on after a sequence whose slots hold `slots`."""
    source = np.random.default_rng(zlib.crc32(array("q", slots).tobytes()))
    return source.normal(0, 2, VOCAB).astype(np.float32)


def beam_row(slots: Sequence[int], choice: Choice) -> BeamRow:
    """The row of a beam whose slots hold `slots`."""
    row = SamplerRow(choice.request, choice.params, 0, choice.sample, choice.position)
    return BeamRow.of(next_logits(slots), row, Processing())


def expected_output(prompt: Sequence[int], count: int, sample: int = 0) -> list[int]:
    """The reference that every schedule must agree with."""
    slots = [0]
    output: list[int] = []
    for token in prompt:
        slots.append(slot_value(slots[-1], token))
    for _ in range(count):
        output.append(next_token(slots[1:], sample))
        slots.append(slot_value(slots[-1], output[-1]))
    return output


def dropped_at(dropped: Drops, position: int) -> list[int]:
    """The table indexes that the row at `position` does not read."""
    return sorted(index for index, first in dropped.items() if first <= position)


class ScriptedExecutor:
    """Slots of `num_blocks` blocks; `fault` may raise before anything is chosen, `fault_at_choice` is raised
    where something is."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.block_size = block_size
        self.slots = [UNWRITTEN] * (num_blocks * block_size)
        self.fault: Callable[[], None] = lambda: None
        self.fault_at_choice: BaseException | None = None
        self.writes = WriteClock(len(self.slots))
        self.files: dict[int, list[int]] = {}

    def begin(self, job: Job) -> ScriptedForward:
        return ScriptedForward(self, job)

    def execute(self, job: Job) -> Outcome:
        self.writes.tick()
        lost = self._exchange(job)
        for copy in job.copies:
            start = copy.block * self.block_size
            self.writes.wrote(slice(start, start + copy.tokens))
            for offset in range(copy.tokens):
                moved = self.slots[copy.source * self.block_size + offset]
                self.slots[copy.block * self.block_size + offset] = moved
        for part in job.slices:
            self._write(part, part.work.start, part.token_ids)
        self.fault()
        if job.choices and self.fault_at_choice is not None:
            raise self.fault_at_choice
        checked = self._checked(job)
        answers = [
            checked[c.request].tokens
            if c.request in checked
            else [next_token(self._read(job.slices[c.row]), c.sample)]
            for c in job.choices
        ]
        tokens = [token for answer in answers for token in answer]
        beams = {c.request: beam_row(self._read(job.slices[c.row]), c) for c in job.beams}
        return Outcome(tokens, [None] * len(tokens), NO_DETAILS, 0, 0, checked=checked, beams=beams, lost=lost)

    def _exchange(self, job: Job) -> list[Lost]:
        """Keep what is offloaded, and take back what is loaded; what is not in `files` is computed."""
        size, lost = self.block_size, []
        for event in job.offloads:
            for block, hash_ in zip(event.blocks, event.hashes, strict=True):
                self.files[hash_] = self.slots[block * size : (block + 1) * size]
        for load in job.loads:
            for offset, (block, hash_) in enumerate(zip(load.event.blocks, load.event.hashes, strict=True)):
                part, first = load.part, offset * size
                if hash_ not in self.files:
                    lost.append(Lost(hash_, load.event.request, "it is not there"))
                    self._write(part, part.work.start + first, part.token_ids[first : first + size])
                else:
                    self.slots[block * size : (block + 1) * size] = self.files[hash_]
                self.writes.wrote(slice(block * size, (block + 1) * size))
        for hash_ in job.forgotten:
            self.files.pop(hash_, None)
        return lost

    def _write(self, part: Slice, start: int, token_ids: Sequence[int]) -> None:
        for position, token in enumerate(token_ids, start):
            before = self.slots[self._slot(part, position - 1)] if position else 0
            self.slots[self._slot(part, position)] = slot_value(before, token, dropped_at(part.dropped, position))
            self.writes.wrote([self._slot(part, position)])

    def _checked(self, job: Job) -> dict[str, Checked]:
        """Verify all drafts; what is accepted of branches moves to the slots of its positions."""
        branches = branches_of(job, self.block_size, len(self.slots))
        scratch: dict[int, int] = {}
        for branch in branches:
            for slot, before, token in zip(
                branch.slots, branch.span.slots[branch.span.start - 1 : -1], branch.tokens, strict=True
            ):
                scratch[slot] = slot_value(scratch[before] if before in scratch else self.slots[before], token)
        checked = {c.request: self._verify(job, c, branches, scratch) for c in job.choices if c.draft is not None}
        for move in moves(job, branches, checked, self.block_size):
            self.slots[move.slot] = scratch[move.scratch]
            self.writes.wrote([move.slot])
        return checked

    def _verify(
        self, job: Job, choice: Choice, branches: Sequence[Branch], scratch: Mapping[int, int]
    ) -> Checked:
        """Follow the drafts as far as they are what comes next."""
        assert choice.draft is not None
        part = job.slices[choice.row]
        read = self._read(part)
        seen = {node: read[: part.work.start + 2 + at] for at, node in enumerate((-1, *choice.draft.main), -1)}
        for branch in branches:
            for at, node in enumerate(branch.nodes if branch.row == choice.row else ()):
                slots = branch.span.slots[: branch.span.start + at + 1]
                seen[node] = [scratch[slot] if slot in scratch else self.slots[slot] for slot in slots]

        def raw_at(node: int, _depth: int) -> npt.NDArray[np.float32]:
            follows = next_token(seen[node], choice.sample)
            return np.where(np.arange(VOCAB) == follows, 0, -9).astype(np.float32)

        def row_at(_raw: object, tokens: Sequence[int]) -> SamplerRow:
            position = choice.position + len(tokens)
            return SamplerRow(choice.request, SamplingParams(), 0, choice.sample, position)

        return verify(choice.draft, raw_at, row_at)

    def forget(self, request: str) -> None:
        pass

    def inspect(self, state: State, log: TokenLog, command: Inspect) -> Inspection:
        raise ValueError(f"there is no request {command.request}")

    def _slot(self, part: Slice, position: int) -> int:
        block, offset = divmod(position, self.block_size)
        return part.table[block] * self.block_size + offset

    def _read(self, part: Slice) -> list[int]:
        holes = dropped_at(part.dropped, part.work.stop - 1)
        kept = (at for at in range(part.work.stop) if at // self.block_size not in holes)
        return [self.slots[self._slot(part, position)] for position in kept]


class ScriptedForward:
    """A pass without stages: it can be begun, and finished."""

    def __init__(self, executor: ScriptedExecutor, job: Job) -> None:
        self.job = job
        self._executor = executor

    def next(self) -> Point | None:
        return None

    def rows(self, request: str, stage: str) -> slice:
        raise KeyError(request, stage)

    def finish(self) -> Outcome:
        return self._executor.execute(self.job)


def scripted_engine(
    num_blocks: int = 64,
    sink: Sink | None = None,
    max_context: int = 10_000,
    shareable_prompt: int | None = None,
    timeline: Timeline | None = None,
    layers: int = 0,
    **options: object,
) -> Engine:
    chosen = EngineOptions(**options)  # type: ignore[arg-type]
    executor = ScriptedExecutor(num_blocks, chosen.block_size)
    limits = Limits(max_context, VOCAB, shareable_prompt=shareable_prompt, layers=layers)
    return Engine(executor, limits, num_blocks, chosen, sink, timeline=timeline)


def spec(prompt: Sequence[int], max_tokens: int = 8, n: int = 1, priority: int = 0) -> RequestSpec:
    return RequestSpec(tuple(prompt), SamplingParams(max_tokens=max_tokens), n, priority)
