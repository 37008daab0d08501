"""The border between bookkeeping and tensors: what a step asks to be computed, and what comes back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from engine.capture import Taken
from engine.changed_logits import Processed
from engine.details import TokenDetails
from engine.drafting import Draft
from engine.events import Copied, Event, Loaded, LogitsChanged, Offloaded, Work
from engine.interventions import Intervened
from engine.kv.holes import Drops
from engine.model.config import ModelConfig
from engine.params import SamplingParams
from engine.plug_guard import PluginFailedError
from engine.protocol import Inspect, Inspection, LayersSeen, LookLayers
from engine.stage_report import Stats, Values, Window
from engine.stage_source import Ran
from engine.state import State
from engine.tokens import TokenLog

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from engine.acceptance import Checked
    from engine.beam_rows import BeamRow
    from engine.kv.writes import WriteClock


class DetailsOf(Protocol):
    """Explains the tokens of a step, when called; the logits they were chosen from are all it needs."""

    @property
    def logits(self) -> npt.NDArray[np.float32] | None:
        """[tokens, vocab], in the order of the step's `token` events; None when there is no model behind."""
        ...

    def __call__(self) -> Sequence[TokenDetails]: ...


class NoDetails:
    """Nothing was chosen, or nobody knows more."""

    logits = None

    def __call__(self) -> Sequence[TokenDetails]:
        return ()


NO_DETAILS = NoDetails()


@dataclass(frozen=True, slots=True)
class PickedDetails:
    """Those of some tokens of `whole`, in the order of `picked`."""

    whole: DetailsOf
    picked: Sequence[int]

    @property
    def logits(self) -> npt.NDArray[np.float32] | None:
        """[tokens, vocab]"""
        return None if self.whole.logits is None else self.whole.logits[list(self.picked)]

    def __call__(self) -> Sequence[TokenDetails]:
        details = self.whole()
        return [details[at] for at in self.picked]


RecordedProcessing = Mapping[tuple[str, int], tuple[Processed, ...]]
"""What logits processors changed in a step, by request and position."""


def recorded_processing(events: Iterable[Event]) -> RecordedProcessing:
    """What logits processors changed in the step that said `events`."""
    done: dict[tuple[str, int], tuple[Processed, ...]] = {}
    for event in events:
        if isinstance(event, LogitsChanged):
            place = event.request, event.position
            done[place] = (*done.get(place, ()), Processed(event.plugin, event.change))
    return done


@dataclass(frozen=True, slots=True)
class Slice:
    """One request's part of a batch: `token_ids` of positions `work.start` to `work.stop`, and its table.

    `adapter` is the name of the one that it runs with, "" for none. `dropped` are the holes of the table.
    """

    work: Work
    token_ids: Sequence[int]
    table: Sequence[int]
    prompt_tokens: int
    intervened: Intervened | None = None
    adapter: str = ""
    dropped: Drops = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """A token to choose for the position after `tokens`, from the last row of slice `row`.

    With a `draft` the slice ends with its tokens, and each of its rows may choose one.
    """

    request: str
    row: int
    sample: int
    params: SamplingParams
    prompt_tokens: int
    tokens: Sequence[int]
    draft: Draft | None = None

    @property
    def position(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True)
class Load:
    """Blocks that are read back from host files; `part` are their positions, should they be computed instead."""

    event: Loaded
    part: Slice


@dataclass(frozen=True, slots=True)
class Lost:
    """A host file that could not be written, or not be read for `request`: as `events.OffloadLost` says it."""

    hash: int
    request: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Job:
    """A step's work: copy blocks, run the slices through the model, choose tokens.

    `processing` is what logits processors changed when a recorded step is run again: none is asked then.
    `beams` are rows from which beam searches go on: what they choose depends on all of them.
    Before anything else `offloads` are written to host files and `loads` read back from them.
    """

    copies: Sequence[Copied]
    slices: Sequence[Slice]
    choices: Sequence[Choice]
    processing: RecordedProcessing | None = None
    beams: Sequence[Choice] = ()
    offloads: Sequence[Offloaded] = ()
    loads: Sequence[Load] = ()

    @property
    def forgotten(self) -> set[int]:
        """Hashes whose host files are deleted by the end: one that is written again after that stays."""
        gone: set[int] = set()
        for event in self.offloads:
            gone = (gone | {*event.forgotten}) - {*event.hashes}
        return gone


@dataclass(frozen=True, slots=True)
class Processing:
    """What logits processors changed of a row, and which of them failed at it."""

    done: tuple[Processed, ...] = ()
    failed: tuple[PluginFailedError, ...] = ()


@dataclass(frozen=True, slots=True)
class Weighing:
    """What `rows` rows of `request` from `start` on attended to: as `events.Weighed` says it."""

    request: str
    start: int
    rows: int
    indexes: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`tokens` and `draws` answer the job's choices in order; `details` explains them, when asked.

    A choice with a draft is answered by as many as the request's entry in `checked` has.

    `captured` are tensors of the rows that chose them, where the options say so. `processing` is what logits
    processors did before each choice; empty where none is asked. `weighed` is what a KV policy wanted measured.
    `beams` has the row of each of the job's beams. `lost` are host files that could not be written or read.
    """

    tokens: Sequence[int]
    draws: Sequence[float | None]
    details: DetailsOf
    forward_ns: int
    sample_ns: int
    captured: Sequence[Taken] = ()
    processing: Sequence[Processing] = ()
    checked: Mapping[str, Checked] = field(default_factory=dict)
    weighed: Sequence[Weighing] = ()
    lost: Sequence[Lost] = ()
    beams: Mapping[str, BeamRow] = field(default_factory=dict)


def tokens_by_request(job: Job, outcome: Outcome) -> dict[str, Iterator[int]]:
    """The tokens that answer each choice of `job`."""
    tokens = iter(outcome.tokens)
    counts = {each.request: outcome.checked.get(each.request) for each in job.choices}
    return {
        request: iter([next(tokens) for _ in range(1 if checked is None else len(checked.tokens))])
        for request, checked in counts.items()
    }


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A named point of a forward pass: `tensor` (torch's) is the forward's own, so clone what you keep.

    `ns` is the time from the point before.
    """

    layer: int
    stage: str
    tensor: Any
    ns: int = 0


class Forward(Protocol):
    """A forward pass that can be halted at every named stage. `job` is what it computes."""

    @property
    def job(self) -> Job: ...

    def next(self) -> Point | None:
        """Run on to the next named stage; None when the last one, the logits, is behind it."""
        ...

    def rows(self, request: str, stage: str) -> slice:
        """The rows of that stage's tensor that belong to `request`; KeyError when it is not in the batch."""
        ...

    def finish(self) -> Outcome:
        """Run what is left and choose the tokens."""
        ...


@runtime_checkable
class Halted(Protocol):
    """A forward pass with tensors, which can be looked at where it is halted."""

    @property
    def at(self) -> Point | None:
        """The stage it is halted at; None before the first, and when the last is behind it."""
        ...

    def ran(self) -> tuple[Ran, ...]:
        """The lines that ran from the stage before to this one."""
        ...

    def stats(self, request: str) -> Stats | None:
        """The rows of `request` at this stage in numbers; None where it has none."""
        ...

    def values(self, request: str, window: Window) -> Values | None:
        """The same rows as values. ValueError when the window lies outside of them."""
        ...


class Executor(Protocol):
    """Whoever holds the tensors. What it raises fails the step, which is then rolled back."""

    writes: WriteClock

    def begin(self, job: Job) -> Forward:
        """Copy the job's blocks and stand before the first stage."""
        ...

    def execute(self, job: Job) -> Outcome:
        """The whole job at once: the same as `begin(job).finish()`."""
        ...

    def inspect(self, state: State, log: TokenLog, command: Inspect) -> Inspection:
        """Compute a row again, changing nothing. ValueError, in one line, when there is no such row."""
        ...

    def forget(self, request: str) -> None:
        """`request` is finished: nothing of it is needed any more but its cached blocks."""
        ...


@runtime_checkable
class Looking(Protocol):
    """An executor with tensors, which can compute a row again and look inside."""

    def look(self, state: State, log: TokenLog, command: LookLayers) -> LayersSeen:
        """Compute a row again and look at every stage of it, as `inspect` does."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What the model allows: positions, the ids that end an output, its sizes, and which KV requests may share.

    Prompts longer than `shareable_prompt` have keys of their own (None: there is no such limit).
    """

    max_context: int
    vocab_size: int
    eos_ids: frozenset[int] = frozenset()
    shareable_prompt: int | None = None
    layers: int = 0
    heads: int = 0


def limits_of(config: ModelConfig) -> Limits:
    """The limits of a model; dynamic rope turns the keys of longer prompts by angles of their own."""
    shareable = config.rope.original_tokens if config.rope.type == "dynamic" else None
    return Limits(
        config.context_tokens, config.vocab_size, frozenset(config.eos_ids), shareable,
        config.layers, config.heads,
    )  # fmt: skip
