"""The engine in its own process: obey commands between steps, until closed or until nobody is there."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import BinaryIO, Literal

import msgspec

from engine import protocol as pr
from engine.debug.changing import Means
from engine.debug.hosting import HostedDebugger, debugger_on
from engine.engine import Engine
from engine.plug_guard import PluginFailedError
from engine.stage_walk import StageWalk
from engine.workload import Encode, EncodeText, Feeder, to_fork, to_spec

REPORT_EVERY_S = 1 / 30


def number_text(token: int) -> str:
    """What stands for a token's text where there is no tokenizer."""
    return f"<{token}>"


@dataclass(frozen=True, slots=True)
class Opened:
    """Everything a host drives. `flush` returns when all that happened is on disk."""

    engine: Engine
    encode: Encode
    encode_text: EncodeText
    feeder: Feeder
    session: str
    flush: Callable[[], None]
    token_text: Callable[[int], str] = number_text


Announce = Callable[[pr.Message], None]
Why = Literal["stepped", "running", "paused", "idle", "failed"]
OpenSession = Callable[[pr.Open, Announce], Opened]


def serve(open_session: OpenSession, commands: BinaryIO, answers: BinaryIO) -> int:
    """Serve one client until it closes; the process's exit code.

    The first command must be `Open`. `open_session` may raise ValueError (bad input, exit code 2).
    When the client is gone, or the engine has a defect, the session is closed all the same.
    """
    queue = _listen(commands)
    announce = _announcer(answers)
    first = queue.get()
    if not isinstance(first, pr.Open):
        return 0
    try:
        opened = open_session(first, announce)
    except Exception as error:
        announce(pr.Fatal(id=first.id, error=_one_line(error), usage=isinstance(error, ValueError | OSError)))
        return 2 if isinstance(error, ValueError | OSError) else 1
    announce(pr.Ready(id=first.id, session=opened.session))
    try:
        with contextlib.closing(opened.engine):
            Host(opened, queue, announce).loop()
    except Exception as error:
        traceback.print_exc()
        announce(pr.Fatal(error=_one_line(error), usage=False))
        return 1
    announce(pr.Closed(session=opened.session))
    return 0


class Host:
    """The loop: take commands when there are any, step while running, wait when there is nothing to do."""

    def __init__(self, opened: Opened, queue: SimpleQueue[pr.Command | None], announce: Announce) -> None:
        self._opened = opened
        self._engine = opened.engine
        self._queue = queue
        self._held: deque[pr.Command] = deque()
        means = Means(opened.encode, opened.encode_text, opened.flush, self._rewound)
        self._debugger = debugger_on(opened.engine, means, opened.token_text)
        self._hosted = HostedDebugger(self._debugger, means, opened.flush)
        self._walk = StageWalk(opened.engine, self._debugger)
        self._announce = announce
        self._to_go: float = 0  # steps still to take; infinite while running
        self._reported = 0.0
        self._speed = _Speed()

    def loop(self) -> None:
        """Until a client closes, or there is none any more."""
        self._feed()
        self._pause("paused")
        while True:
            try:
                command = self._next_command()
            except Empty:
                self._step()
                continue
            if command is None or isinstance(command, pr.Close):
                return
            if self._waits(command):
                self._held.append(command)
            else:
                self._obey(command)

    def _waits(self, command: pr.Command) -> bool:
        """Whether a command has to wait until the step under way is over."""
        if isinstance(command, pr.Do):
            return self._hosted.waits(command)
        return self._engine.begun is not None and not isinstance(command, pr.WHILE_HALTED)

    def _next_command(self) -> pr.Command | None:
        """What was held back while a forward pass was halted comes first. Empty when there is a step to take."""
        if self._held and self._engine.begun is None:
            return self._held.popleft()
        return self._queue.get(block=not self._to_go)

    def _obey(self, command: pr.Command) -> None:
        try:
            self._announce(self._answer(command))
        except (ValueError, RuntimeError, MemoryError) as error:
            self._announce(pr.Reply(id=command.id, error=_one_line(error)))

    def _answer(self, command: pr.Command) -> pr.Message:
        match command:
            case pr.Step(count=count):
                if count < 1:
                    raise ValueError(f"count is {count}: it must be at least 1")
                self._go(count if self._to_go == float("inf") else self._to_go + count)
            case pr.Run():
                self._go(float("inf"))
            case pr.Pause():
                self._debugger.give_up_own()
                self._pause("paused")
            case pr.Do():
                return self._do(command)
            case pr.Submit(request=request):
                ids = self._engine.submit(to_spec(request, self._opened.encode))
                self._opened.flush()
                return pr.Reply(id=command.id, requests=tuple(ids))
            case pr.Abort(request=request):
                self._abort(request)
            case pr.Inspect():
                return self._engine.inspect(command)
            case pr.LookLayers():
                return self._engine.look(command)
            case (
                pr.StepInto() | pr.NextStage() | pr.NextLayer() | pr.ToStage() | pr.LookStage()
                | pr.FinishForward() | pr.Abandon()
            ):  # fmt: skip
                return self._walk_on(command)
            case pr.Fork(fork=fork):
                request = self._engine.fork(to_fork(fork, self._opened.encode_text))
                self._opened.flush()
                return pr.Reply(id=command.id, requests=(request,))
            case pr.Rewind():
                return self._rewind(command)
            case pr.Preempt(request=request):
                self._change(lambda: self._engine.preempt(request))
            case pr.Evict(block=block):
                self._change(lambda: self._engine.evict(block))
            case pr.DisablePlugin():
                self._change(lambda: self._disable_plugin(command))
            case pr.SetPolicy(policy=policy):
                self._change(lambda: self._engine.set_policy(policy))
            case _:
                raise ValueError(f"{type(command).__name__} is not possible now")
        return pr.Reply(id=command.id)

    def _disable_plugin(self, command: pr.DisablePlugin) -> None:
        if command.plugin not in self._engine.plugs.disabled:
            failure = PluginFailedError(command.plugin, command.hook, command.why, command.message)
            self._engine.disable_plugin(failure)

    def _do(self, command: pr.Do) -> pr.Done:
        """Carry out a line of the debugger's language."""
        if self._engine.begun is None:
            self._feed()
        answered = self._hosted.answer(command)
        if answered.steps:
            self._go(answered.steps)
        elif answered.steps == 0:
            self._pause("stepped" if self._engine.busy else "idle")
        return answered.done

    def _walk_on(self, command: pr.Walking) -> pr.StageReport:
        """Go on inside the forward pass; at the end of the step, report as after any other."""
        if self._to_go:
            self._pause("paused")
        if self._engine.begun is None:
            self._feed()
        self._debugger.stop = None
        try:
            report = self._walk.obey(command)
        except RuntimeError as error:  # a failed step, or a session that can no longer be written
            self._tell_stop()
            self._pause("failed", _one_line(error))
            return pr.StageReport(id=command.id, step=self._engine.state.step, place="failed")
        self._tell_stop()
        if report.over:
            self._feed()
            self._pause("stepped" if self._engine.busy else "idle")
        return msgspec.structs.replace(report, id=command.id)

    def _change(self, change: Callable[[], None]) -> None:
        change()
        self._opened.flush()

    def _rewind(self, command: pr.Rewind) -> pr.Rewound:
        self._opened.flush()  # the past is read from the session
        step, branch, exact = command.step, command.branch, command.exact
        if command.dry:
            found = self._engine.cost_of_rewind(step, branch, exact=exact)
        else:
            self._pause("paused")
            found = self._engine.rewind(step, branch, exact=exact)
            self._debugger.rewound()
            self._rewound()
            self._report("paused")
        return pr.Rewound(
            id=command.id, branch=found.branch, step=found.step, recomputed_tokens=found.recomputed_tokens,
            replayed_steps=found.replayed_steps, replayed_from=found.replayed_from, done=not command.dry,
        )  # fmt: skip

    def _rewound(self) -> None:
        """The engine has gone back: so does what is still to come of the workload."""
        self._opened.feeder.rewind(self._engine)
        self._opened.flush()

    def _go(self, steps: float) -> None:
        if not self._to_go:
            self._speed.value(self._engine.state.totals.output_tokens, time.monotonic())
        self._to_go = steps

    def _abort(self, request: str) -> None:
        if request not in self._engine.state.requests:
            raise ValueError(f"request {request} is not live: there is nothing to abort")
        self._engine.abort(request)
        self._opened.flush()

    def _step(self) -> None:
        self._to_go -= 1
        try:
            if self._engine.begun is None:
                self._feed()  # a step that failed may have left nobody live
            step = self._debugger.step()
            if self._engine.begun is None:
                self._feed()
        except RuntimeError as error:  # a failed step, or a session that can no longer be written
            self._tell_stop()
            self._pause("failed", _one_line(error))
            return
        if self._debugger.stop is not None:
            if not self._tell_stop():
                self._pause("stepped")
        elif step is None or not self._engine.busy:
            self._debugger.give_up_own()
            self._pause("idle")
        elif self._to_go <= 0:
            self._pause("stepped")
        elif time.monotonic() - self._reported > REPORT_EVERY_S:
            self._report("running")

    def _tell_stop(self) -> bool:
        """Say what has halted the run, if anything has; whether its commands let it go on."""
        stop = self._debugger.stop
        if stop is None:
            return False
        stopped, self._to_go = self._hosted.halted(stop)
        with contextlib.suppress(RuntimeError):  # a session that cannot be written is said with the report
            self._opened.flush()
        self._announce(stopped)
        if self._engine.begun is not None and not self._to_go:
            self._announce(self._walk.report(stop.request))
        return self._to_go > 0

    def _feed(self) -> None:
        self._opened.feeder.feed(self._engine)

    def _pause(self, why: Why, error: str = "") -> None:
        self._to_go = 0
        try:
            self._opened.flush()
        except RuntimeError as failure:
            why, error = "failed", _one_line(failure)
        self._report(why, error)

    def _report(self, why: Why, error: str = "") -> None:
        self._reported = time.monotonic()
        state = self._engine.state
        speed = self._speed.value(state.totals.output_tokens, self._reported)
        self._announce(
            pr.Progress(
                step=state.step, running=self._to_go > 0, live=len(state.requests), tokens_per_s=speed,
                why=why, error=error, inside=self._engine.begun is not None,
            )
        )  # fmt: skip


class _Speed:
    """Output tokens per second between reports of one run."""

    def __init__(self) -> None:
        self._since: tuple[int, float] | None = None

    def value(self, output_tokens: int, now: float) -> float:
        before, self._since = self._since, (output_tokens, now)
        if before is None or now <= before[1]:
            return 0.0
        return (output_tokens - before[0]) / (now - before[1])


def _listen(commands: BinaryIO) -> SimpleQueue[pr.Command | None]:
    """A queue that a thread fills with commands, and with None at the end of the channel."""
    queue: SimpleQueue[pr.Command | None] = SimpleQueue()

    def read() -> None:
        command: pr.Command | None = None
        try:
            while (command := pr.receive_command(commands)) is not None:
                queue.put(command)
        except (pr.ChannelError, OSError, ValueError):
            pass  # a client that talks nonsense is as good as gone
        queue.put(None)

    threading.Thread(target=read, name="commands", daemon=True).start()
    return queue


def _announcer(answers: BinaryIO) -> Announce:
    """Sends answers; when the client is gone they go nowhere, and `_listen` ends the loop."""

    def announce(message: pr.Message) -> None:
        with contextlib.suppress(pr.ChannelError):
            pr.send(answers, message)

    return announce


def _one_line(error: BaseException) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__
