"""Requests to come: parsed from JSONL, encoded, and handed to the engine when their step has come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from engine.params import EarlyStopping, ForkSpec, OptionError, RequestSpec, SamplingParams
from engine.protocol import ForkText, RequestText

if TYPE_CHECKING:
    from engine.engine import Engine

Encode = Callable[[RequestText], Sequence[int]]
EncodeText = Callable[[str], Sequence[int]]  # plain text, without special tokens


class WorkloadError(ValueError):
    """A workload that cannot run: the line's number, what is wrong with it and what to do."""


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a workload file. What is absent takes the command line's setting."""

    prompt: str | None = None
    messages: tuple[dict[str, str], ...] | None = None
    prompt_ids: tuple[int, ...] | None = None
    max_tokens: int | msgspec.UnsetType = msgspec.UNSET
    temperature: float | msgspec.UnsetType = msgspec.UNSET
    top_k: int | msgspec.UnsetType = msgspec.UNSET
    top_p: float | msgspec.UnsetType = msgspec.UNSET
    min_p: float | msgspec.UnsetType = msgspec.UNSET
    repetition_penalty: float | msgspec.UnsetType = msgspec.UNSET
    presence_penalty: float | msgspec.UnsetType = msgspec.UNSET
    frequency_penalty: float | msgspec.UnsetType = msgspec.UNSET
    logit_bias: dict[int, float] | msgspec.UnsetType = msgspec.UNSET
    seed: int | msgspec.UnsetType | None = msgspec.UNSET
    stop: str | tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    stop_ids: tuple[int, ...] | msgspec.UnsetType = msgspec.UNSET
    ignore_eos: bool | msgspec.UnsetType = msgspec.UNSET
    adapter: str | msgspec.UnsetType = msgspec.UNSET
    salt: str | msgspec.UnsetType = msgspec.UNSET
    beams: int | msgspec.UnsetType = msgspec.UNSET
    length_penalty: float | msgspec.UnsetType = msgspec.UNSET
    early_stopping: EarlyStopping | msgspec.UnsetType = msgspec.UNSET
    n: int | msgspec.UnsetType = msgspec.UNSET
    priority: int = 0
    arrival_step: int = 0


def parse_workload(lines: Iterable[str | bytes], defaults: SamplingParams, n: int = 1) -> list[RequestText]:
    """The requests of a JSONL file, blank lines skipped; raises WorkloadError with the line's number."""
    requests = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                requests.append(_parse(line, number, defaults, n))
            except (msgspec.MsgspecError, OptionError, UnicodeDecodeError) as error:
                raise WorkloadError(f"line {number}: {error}") from error
    if not requests:
        raise WorkloadError('it has no requests: write one JSON object a line, such as {"prompt": "def f"}')
    return requests


def _parse(line: str | bytes, number: int, defaults: SamplingParams, n: int) -> RequestText:
    fields = msgspec.json.decode(line, type=_Line)
    given = [name for name in ("prompt", "messages", "prompt_ids") if getattr(fields, name) is not None]
    if len(given) != 1:
        raise OptionError(
            f"give exactly one of prompt, messages and prompt_ids, not {', '.join(given) or 'none'}"
        )
    if fields.arrival_step < 0:
        raise OptionError(f"arrival_step is {fields.arrival_step}: it must be 0 or more")
    settings = {name: getattr(fields, name) for name in SamplingParams.__struct_fields__}
    changes: dict[str, Any] = {name: value for name, value in settings.items() if value is not msgspec.UNSET}
    if isinstance(changes.get("stop"), str):
        changes["stop"] = (changes["stop"],)
    params = msgspec.structs.replace(defaults, **changes)
    samples = n if fields.n is msgspec.UNSET else fields.n
    return RequestText(
        fields.prompt, fields.messages, fields.prompt_ids, params, samples, fields.priority, fields.arrival_step,
        number,
    )  # fmt: skip


def to_spec(request: RequestText, encode: Encode) -> RequestSpec:
    """`request` with its text as token ids. Raises OptionError for an empty prompt."""
    ids = request.prompt_ids if request.prompt_ids is not None else tuple(encode(request))
    return RequestSpec(ids, request.params, request.n, request.priority)


def to_fork(fork: ForkText, encode: EncodeText) -> ForkSpec:
    """`fork` with its text as token ids. Raises OptionError where `text` is not one token."""
    token, prompt_ids = fork.token, fork.prompt_ids
    if fork.text is not None:
        ids = encode(fork.text)
        if len(ids) != 1:
            raise OptionError(f"{fork.text!r} is {len(ids)} tokens: give text that is one, or a token id")
        (token,) = ids
    if fork.prompt_end is not None:
        prompt_ids = tuple(encode(fork.prompt_end))
    return ForkSpec(fork.parent, fork.at_position, token, prompt_ids, fork.params, fork.scales)


def check_workload(requests: Sequence[RequestText], engine: Engine, encode: Encode) -> None:
    """Raise WorkloadError for the first request that can never run on `engine`."""
    for number, request in enumerate(requests, 1):
        try:
            engine.check(to_spec(request, encode))
        except ValueError as error:
            where = f"line {request.line}" if request.line else f"prompt {number}"
            raise WorkloadError(f"{where}: {error}") from error


class Feeder:
    """Submits requests once `arrival_step` steps are committed.

    When the engine would else be idle the next ones come at once, all of the same `arrival_step` together.
    """

    def __init__(self, requests: Sequence[RequestText], encode: Encode) -> None:
        self._requests = sorted(requests, key=lambda request: request.arrival_step)
        self._next = 0
        self._fed: list[_Fed] = []
        self._encode = encode

    def feed(self, engine: Engine) -> None:
        """Submit everything that is due after the engine's latest step."""
        due = engine.state.step
        while not self.empty and (self._requests[self._next].arrival_step <= due or not engine.busy):
            request = self._requests[self._next]
            due = max(due, request.arrival_step)
            self._fed.append(_Fed(self._next, engine.state.branch, engine.state.step))
            self._next += 1
            engine.submit(to_spec(request, self._encode))

    def rewind(self, engine: Engine) -> None:
        """Go back with the engine: what had not arrived by then is still to come."""
        way = engine.way()
        there = [fed.number for fed in self._fed if fed.step <= way.get(fed.branch, -1)]
        self._next = max(there, default=-1) + 1

    @property
    def empty(self) -> bool:
        return self._next == len(self._requests)


class _Fed(NamedTuple):
    """Request `number` of the workload was submitted after `step` of `branch`."""

    number: int
    branch: int
    step: int
