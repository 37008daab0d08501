"""What an engine's process is told: to open, to take requests, to run, and to change something."""

from __future__ import annotations

import msgspec

from engine.params import EngineOptions, Policy
from engine.plug_guard import Why
from engine.protocol.base import ForkText, Message, RequestText


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
