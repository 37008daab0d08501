"""EngineLink: the engine's process as the screen knows it. It sends commands and keeps the status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from textual.message import Message

from engine import protocol as pr
from engine.client import EngineClient
from engine.debug.said import Stop
from workbench.bench import EngineState, EngineStatus
from workbench.inside import Inside, inside_after
from workbench.source import Live

NO_ENGINE = EngineStatus("none")
CLOSE_S = 10.0
LOADING_CLOSE_S = 0.2  # nothing is recorded yet


class Heard(Message):
    """The engine said something; comes from the thread that listens to it."""

    def __init__(self, answer: pr.Answer, link: EngineLink | None = None) -> None:
        super().__init__()
        self.answer = answer
        self.link = link

    def can_replace(self, message: Message) -> bool:
        """Of several reports on a run that goes on, the newest is enough."""
        return (
            isinstance(message, Heard)
            and message.link is self.link
            and _goes_on(self.answer)
            and _goes_on(message.answer)
        )


def _goes_on(answer: pr.Answer) -> bool:
    return isinstance(answer, pr.Progress) and answer.why == "running"


class Lost(Message):
    """The engine's process has ended, with this exit code."""

    def __init__(self, code: int, link: EngineLink | None = None) -> None:
        super().__init__()
        self.code = code
        self.link = link


class EngineLink:
    """Starts an engine and follows what it says. `post` is called on another thread, with Heard and Lost."""

    def __init__(self, live: Live, post: Callable[[Message], object], *, looking: bool = False) -> None:
        """With `looking`, the engine is there for inspections only."""
        self.looking = looking
        self.live = live
        self.status = EngineStatus("loading", "starting the engine")
        self._post = post
        self._client = EngineClient(live.command, self._hear, self._lose, live.log)
        self.send(
            pr.Open(
                model=str(live.model), session=str(live.session), options=live.options,
                workload=tuple(live.workload), force=live.force, resume=live.resume,
            )
        )  # fmt: skip

    def _hear(self, answer: pr.Answer) -> None:
        self._post(Heard(answer, self))

    def _lose(self, code: int) -> None:
        self._post(Lost(code, self))

    @property
    def pid(self) -> int:
        return self._client.pid

    def send(self, command: pr.Command) -> int:
        """Send a command; the id its reply will carry, 0 when the engine is gone."""
        try:
            return self._client.send(command)
        except pr.ChannelError:
            return 0  # `lost` tells the person

    def step(self) -> None:
        self.send(pr.Step())

    def run(self) -> None:
        self.status = replace(self.status, state="running")
        self.send(pr.Run())

    def pause(self) -> None:
        self.send(pr.Pause())

    def heard(self, answer: pr.Answer) -> None:
        """Take in what the engine says of itself."""
        match answer:
            case pr.Loading(doing=doing):
                self.status = EngineStatus("loading", doing)
            case pr.Ready():
                self.status = EngineStatus("looking" if self.looking else "paused")
            case pr.Progress() if not self.looking:
                self.status = _status_of(answer, self.status)
            case pr.StageReport():
                inside = inside_after(self.status.inside, answer)
                stop = self.status.stop if _stands_there(self.status.stop, inside) else None
                self.status = replace(self.status, inside=inside, stop=stop)
            case pr.Stopped(stop=stop):
                self.status = replace(self.status, stop=stop)
            case pr.Fatal(error=error):
                self.status = EngineStatus("gone", error)

    def ended(self, code: int) -> None:
        """The process is gone, with this exit code."""
        if self.status.state != "gone":
            self.status = EngineStatus("gone", _how(code))

    def close(self) -> None:
        """Let it finish its step and close the session; kill it when it does not, or is still loading."""
        self._client.close(LOADING_CLOSE_S if self.status.state == "loading" else CLOSE_S)


def _status_of(progress: pr.Progress, before: EngineStatus) -> EngineStatus:
    state: EngineState = "running" if progress.running else "paused"
    if progress.why == "failed":
        state = "failed"
    speed = progress.tokens_per_s or (before.tokens_per_s if progress.running else 0.0)
    inside = before.inside if progress.inside else None
    stop = before.stop if _is_still_at(before.stop, progress) else None
    return EngineStatus(state, progress.error or progress.why, speed, inside, stop)


def _is_still_at(stop: Stop | None, progress: pr.Progress) -> bool:
    """Whether the engine has not gone on since it was halted."""
    if stop is None or progress.running or progress.step != stop.step:
        return False
    return progress.inside or stop.when in ("committed", "failed")


def _stands_there(stop: Stop | None, inside: Inside | None) -> bool:
    """Whether the pass stands where it was halted."""
    if stop is None or inside is None:
        return False
    standing = inside.standing
    if standing is None:
        return stop.when == "planned" and not inside.behind
    return (standing.layer, standing.stage) == (stop.layer, stop.stage)


def _how(code: int) -> str:
    if code < 0:
        return f"killed by signal {-code}; the session is whole to the last step"
    return f"exit code {code}; the session is whole to the last step"


__all__ = ["NO_ENGINE", "EngineLink", "Heard", "Lost"]
