"""What the engine's process and whoever drives it say to each other: length-prefixed msgpack frames.

Only commands and inspection go over this channel. What happened in a run is read from its session file.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Literal, TypeAlias, TypeVar

import msgspec

from engine.debug.said import PointInfo, Shown, Stop
from engine.interventions import Scale
from engine.params import EngineOptions, Policy, SamplingParams
from engine.plug_guard import Why
from engine.stage_report import Part, Passed, Source, Standing, Values, Window

MAX_FRAME_BYTES = 1 << 30
_LENGTH = struct.Struct("<I")


class ChannelError(RuntimeError):
    """The other side is gone, or does not speak this protocol."""


class Message(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Base of everything on the channel; `id` links a command to its reply."""

    id: int = 0


class RequestText(msgspec.Struct, frozen=True):
    """A request before it is encoded: exactly one of prompt, messages and prompt_ids."""

    prompt: str | None = None
    messages: tuple[dict[str, str], ...] | None = None
    prompt_ids: tuple[int, ...] | None = None
    params: SamplingParams = SamplingParams()
    n: int = 1
    priority: int = 0
    arrival_step: int = 0
    line: int = 0  # of the workload file it came from, 0 when it came from none


class ForkText(msgspec.Struct, frozen=True):
    """A fork before it is encoded: `engine.forking.ForkSpec`, with text where that has token ids.

    The other token at `at_position` is `token`, or `text`, which must be one token; `prompt_end` (or
    `prompt_ids`) stands in the place of the prompt's tokens from there on.
    """

    parent: str
    at_position: int
    token: int | None = None
    text: str | None = None
    prompt_end: str | None = None
    prompt_ids: tuple[int, ...] | None = None
    params: SamplingParams | None = None
    scales: tuple[Scale, ...] = ()


# -- commands ------------------------------------------------------------------------------------------


class Resume(msgspec.Struct, frozen=True):
    """Go on from the end of `step` of `branch` of a recording: a copy of it grows, it stays as it is."""

    recording: str
    branch: int
    step: int


class Open(Message, frozen=True):
    """Load the model in folder `model`, record to `session`, and queue `workload`. Comes first, once.

    With `resume` the session begins as a copy of a recording, whose options hold, and a branch of it.
    """

    model: str
    session: str
    options: EngineOptions
    workload: tuple[RequestText, ...] = ()
    force: bool = False
    resume: Resume | None = None


class Submit(Message, frozen=True):
    request: RequestText


class Abort(Message, frozen=True):
    request: str


class Fork(Message, frozen=True):
    """Queue a request that goes on from a position of another one with something changed."""

    fork: ForkText


class Rewind(Message, frozen=True):
    """Go back to the end of `step` of `branch` (None: the present one) and open a branch there.

    With `dry` only say what it would take. Answered by `Rewound`.
    """

    step: int
    branch: int | None = None
    exact: bool = False
    dry: bool = False


class Preempt(Message, frozen=True):
    """Take its blocks from a running request, as if another needed them."""

    request: str


class Evict(Message, frozen=True):
    """Drop a cached block, and all that follow it in the tree."""

    block: int


class SetPolicy(Message, frozen=True):
    """Admit requests in another order from the next step on."""

    policy: Policy


class DisablePlugin(Message, frozen=True):
    """A hook of a plugin failed on the screen: ask that plugin no more, and record it."""

    plugin: str
    hook: str
    why: Why
    message: str


class Step(Message, frozen=True):
    """Take `count` steps more, then pause; a run that goes on pauses after `count`."""

    count: int = 1


class Run(Message, frozen=True):
    """Step until paused or until nothing is live."""


class Pause(Message, frozen=True):
    pass


class Inspect(Message, frozen=True):
    """Compute again the input row `position` of `request`, and look inside.

    The attention pattern of the latest `rows` rows is returned for (`layer`, `head`), and pooled to
    `grid` x `grid` for every head.
    """

    request: str
    position: int
    rows: int = 1
    layer: int = 0
    head: int = 0
    grid: int = 12


class StepInto(Message, frozen=True):
    """Plan the next step and stand before the first stage of its forward pass.

    This and the commands that follow are answered by a `StageReport`, with the values of the rows of
    `request` (of the first one in the batch where it is None or not there). While a pass is halted, commands
    that are not `WHILE_HALTED` wait until it is over; `Step` and `Run` go on from there.
    """

    request: str | None = None


class NextStage(Message, frozen=True):
    """Run on to the next stage, or over `count` of them; from the last one, finish the step."""

    count: int = 1
    request: str | None = None


class NextLayer(Message, frozen=True):
    """Run on to the first stage of the next layer; from the last layer, to `final_norm`."""

    request: str | None = None


class ToStage(Message, frozen=True):
    """Run on to a stage that is still ahead."""

    layer: int
    stage: str
    request: str | None = None


class LookStage(Message, frozen=True):
    """Look at the stage where the pass stands: at another request's rows, or closer."""

    request: str | None = None
    window: Window = Window()


class FinishForward(Message, frozen=True):
    """Run the rest of the pass and commit the step."""


class Abandon(Message, frozen=True):
    """Give up the step under way: it is recorded as failed, and its requests wait again."""


class LookLayers(Message, frozen=True):
    """Look at every stage of the input row `position` of `request` again, and at what became of it.

    `token` is the one whose logit is taken apart: None is the token that follows the row, or the likeliest.
    Answered by `LayersSeen`, with the `top` likeliest tokens of each layer.
    """

    request: str
    position: int
    token: int | None = None
    top: int = 5


class Do(Message, frozen=True):
    """Carry out a line of the debugger's language (`engine.debug.registry`); answered by `Done`.

    `request` and `position` are what the client has selected. Only lines whose `where` is points, look, run
    or change are for the engine. One that runs the engine is answered at once; `Stopped` tells of its end.
    """

    line: str
    request: str | None = None
    position: int | None = None


class Close(Message, frozen=True):
    """Finish the step, close the session and exit. The end of the channel means the same."""


Command: TypeAlias = (
    Open
    | Submit
    | Abort
    | Fork
    | Rewind
    | Preempt
    | Evict
    | SetPolicy
    | DisablePlugin
    | Step
    | Run
    | Pause
    | Inspect
    | Close
    | StepInto
    | NextStage
    | NextLayer
    | ToStage
    | LookStage
    | FinishForward
    | Abandon
    | LookLayers
    | Do
)


Walking: TypeAlias = StepInto | NextStage | NextLayer | ToStage | LookStage | FinishForward | Abandon

WHILE_HALTED = (
    Step, Run, Pause, Inspect, LookLayers,
    StepInto, NextStage, NextLayer, ToStage, LookStage, FinishForward, Abandon,
)  # fmt: skip
"""What is obeyed inside a forward pass; other commands wait until it is over."""


# -- answers -------------------------------------------------------------------------------------------


class Loading(Message, frozen=True):
    """What is being done before the first step."""

    doing: str


class Ready(Message, frozen=True):
    """The model is loaded and the session file exists."""

    session: str


class Progress(Message, frozen=True):
    """The engine has committed `step`; `running` says that it goes on by itself.

    With `inside`, `step` is planned, and its forward pass is halted.
    """

    step: int
    running: bool
    live: int
    tokens_per_s: float
    why: Literal["stepped", "running", "paused", "idle", "failed"]
    error: str = ""
    inside: bool = False


class Reply(Message, frozen=True):
    """The command `id` was carried out (`requests`: ids it made), or refused with one line."""

    error: str | None = None
    requests: tuple[str, ...] = ()


class Done(Message, frozen=True):
    """The line of `Do` was carried out, or refused with one line; `points` are those there are now.

    `lacks` says that the engine has no longer, or not yet, what was asked for: the record may.
    """

    shown: Shown = Shown()
    error: str | None = None
    lacks: bool = False
    points: tuple[PointInfo, ...] = ()


class Stopped(Message, frozen=True):
    """A point, or a command that ran up to here, has halted the run; the `Progress` with the same step follows.

    `sentence` says where, why and with which values; `shown` are answers of the point's own commands.
    """

    stop: Stop
    sentence: str
    shown: tuple[Shown, ...] = ()
    points: tuple[PointInfo, ...] = ()


class Rewound(Message, frozen=True):
    """The engine stands (`done`), or would stand, after `step` in the new `branch`.

    KV of `recomputed_tokens` positions was lost and computed again, or `replayed_steps` recorded steps were
    run again from step `replayed_from` on.
    """

    branch: int
    step: int
    recomputed_tokens: int
    replayed_steps: int
    replayed_from: int
    done: bool


class Inspection(Message, frozen=True):
    """One row looked at again. Arrays are little-endian float32 bytes.

    `logits` [vocab] of `position`; `row` [layers, heads, kv], max-pooled by `pool` positions where the
    context is long; `focus` [rows, kv] of the asked head; `grid` [layers, heads, grid, grid], max-pooled;
    `head_entropy`, `head_sink` (mass on position 0), `head_distance` (mean, in tokens) [layers, heads].
    `check` is max|pattern @ V - attn_out|. KV of `reused` positions was still in the pool, that of
    `prefilled` positions was computed again.
    """

    request: str
    position: int
    layer: int
    head: int
    rows: int
    layers: int
    heads: int
    kv: int
    pool: int
    grid_size: int
    logits: bytes
    row: bytes
    focus: bytes
    grid: bytes
    head_entropy: bytes
    head_sink: bytes
    head_distance: bytes
    check: float
    reused: int
    prefilled: int


class StageReport(Message, frozen=True):
    """Where the forward pass of `step` stands: before its first stage, at one, behind its last; or how it ended.

    `parts` are the requests of the batch, and `passed` those stages that were looked at and not reported before.
    `standing` is the stage it is at. A step that is over ran to its end (`finished`), or was given up, or failed.
    """

    step: int
    place: Literal["before", "at", "behind", "finished", "abandoned", "failed"]
    parts: tuple[Part, ...] = ()
    passed: tuple[Passed, ...] = ()
    standing: Standing | None = None

    @property
    def over(self) -> bool:
        return self.place in ("finished", "abandoned", "failed")


class LayersSeen(Message, frozen=True):
    """One row looked at again, stage by stage. Arrays are little-endian.

    `stages` and `values` are in the order of `engine.model.stage_names.points`, `sources` are those of each
    stage by index in `source_of`. The lens reads the residual stream after the embedding and after each layer
    as if it were the last: final norm and unembedding give `[layers + 1, ...]` `lens_ids` (int32, `top` each),
    `lens_probs` (float32), and of `token` its `rank` (from 1), `prob` and `logit`; `kl` is KL(final ‖ lens) in
    nats. `resid_norm [layers + 1]` is the l2 norm there.

    The logit of `token` is taken apart along the residual stream, each part scaled as the final norm scaled
    the row: `embed`, `attn [layers]`, `mlp [layers]`; they add up to `logit - remainder`. `heads
    [layers, heads]` are the heads' shares of `attn`, whose rest is the output projection's bias.

    `token` is the one that follows the row where `follows` says so: it was chosen there, or is the prompt's.
    Without it, it is the likeliest, or was asked for.
    """

    request: str
    position: int
    token: int
    follows: bool
    layers: int
    n_heads: int
    top: int
    stages: tuple[Passed, ...]
    values: tuple[Values, ...]
    sources: tuple[Source, ...]
    source_of: tuple[tuple[int, ...], ...]
    lens_ids: bytes
    lens_probs: bytes
    rank: bytes
    prob: bytes
    lens_logit: bytes
    kl: bytes
    resid_norm: bytes
    embed: float
    attn: bytes
    mlp: bytes
    heads: bytes
    logit: float
    remainder: float
    logits: bytes
    reused: int
    prefilled: int


class Fatal(Message, frozen=True):
    """The engine cannot go on: one line. `usage` marks bad input (exit code 2)."""

    error: str
    usage: bool = True


class Closed(Message, frozen=True):
    """The session is closed; the process exits now."""

    session: str


Answer: TypeAlias = (
    Loading
    | Ready
    | Progress
    | Reply
    | Done
    | Stopped
    | Rewound
    | Inspection
    | StageReport
    | LayersSeen
    | Fatal
    | Closed
)

M = TypeVar("M")
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
_encoder = msgspec.msgpack.Encoder()


def send(stream: BinaryIO, message: Message) -> None:
    """Write one frame. ChannelError when the other side is gone."""
    data = _encoder.encode(message)
    try:
        stream.write(_LENGTH.pack(len(data)) + data)
        stream.flush()
    except (OSError, ValueError) as error:
        raise ChannelError(f"the channel is closed: {error}") from error


def receive_command(stream: BinaryIO) -> Command | None:
    """The next command, None at the end of the channel."""
    data = _read_frame(stream)
    return None if data is None else _decode(_commands, data)


def receive_answer(stream: BinaryIO) -> Answer | None:
    """The next answer, None at the end of the channel."""
    data = _read_frame(stream)
    return None if data is None else _decode(_answers, data)


def _decode(decoder: msgspec.msgpack.Decoder[M], data: bytes) -> M:
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as error:
        raise ChannelError(f"not a message of this protocol: {error}") from error


def _read_frame(stream: BinaryIO) -> bytes | None:
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME_BYTES:
        raise ChannelError(f"a frame of {length} bytes is no message of this protocol")
    data = stream.read(length)
    return data if len(data) == length else None
