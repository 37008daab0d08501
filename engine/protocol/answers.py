"""What an engine's process says: where it stands, what became of a command, why it ended."""

from __future__ import annotations

from typing import Literal

from engine.debug.said import PointInfo, Shown, Stop
from engine.protocol.base import Message
from engine.stage_report import Part, Passed, Standing


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


class Fatal(Message, frozen=True):
    """The engine cannot go on: one line. `usage` marks bad input (exit code 2)."""

    error: str
    usage: bool = True


class Closed(Message, frozen=True):
    """The session is closed; the process exits now."""

    session: str
