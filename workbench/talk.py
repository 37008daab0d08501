"""Talk: what the screen and an engine say to each other, and what each answer means for the screen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine import protocol as pr
from workbench.bench import EngineStatus, News
from workbench.engine_link import NO_ENGINE, EngineLink, Heard, Lost
from workbench.source import Live

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp
    from workbench.model_behind import ModelBehind

Then = Callable[[pr.Answer], None]


class Talk:
    """Holds the link to an engine, and who waits for which reply."""

    def __init__(self, app: WorkbenchApp) -> None:
        self._app = app
        self._awaited: dict[int, Then] = {}
        self._when_gone_on: Callable[[], None] | None = None  # until the copy can be read
        self.link: EngineLink | None = None
        self.behind: ModelBehind | None = None

    @property
    def status(self) -> EngineStatus:
        if self.link is not None:
            return self.link.status
        live = isinstance(self._app.source, Live)
        return EngineStatus("loading", "starting the engine") if live else NO_ENGINE

    # -- beginning and ending ------------------------------------------------------------------------

    def begin(self, live: Live) -> None:
        """Start the engine that the screen is opened on."""
        self.link = EngineLink(live, self._app.post_message)

    def look_with(self, behind: ModelBehind, live: Live) -> None:
        """Start an engine that only looks at what was recorded."""
        self.behind = behind
        self.link = EngineLink(live, self._app.post_message, looking=True)
        self._app.note(News.ENGINE)

    def go_on_with(self, live: Live, then: Callable[[], None]) -> None:
        """Start an engine that goes on from a recording, in place of the one that looks; `then` when it runs."""
        assert live.resume is not None
        self._retire()
        self.begin(live)
        self._when_gone_on = then
        self._app.note(News.ENGINE)

    def _retire(self) -> None:
        """The engine there is has nothing more to say."""
        link, behind = self.link, self.behind
        self.link = self.behind = None
        self._awaited.clear()
        self._when_gone_on = None
        self._app.inspections.forget()

        def end() -> None:
            if link is not None:
                link.close()
            if behind is not None:
                behind.close()

        self._app.run_worker(end, name="retire", thread=True, exit_on_error=False)

    async def close(self) -> None:
        """The engine leaves one whole file when nobody reads it any more."""
        if self.link is not None:
            await asyncio.to_thread(self.link.close)
        if self.behind is not None:
            self.behind.close()

    # -- saying --------------------------------------------------------------------------------------

    def send(self, command: pr.Command, then: Then | None = None) -> int:
        """Send a command; `then` is called with its answer, in the place of what is done with it else."""
        assert self.link is not None, "whoever sends asks first whether there is an engine"
        number = self.link.send(command)
        if then is not None:
            self._awaited[number] = then
        return number

    def look(self, command: pr.Inspect | pr.LookLayers) -> int:
        """Ask for a row; the id its answer will carry."""
        assert self.link is not None, "why_no_look is asked first"
        return self.behind.inspect(command, self.link.send) if self.behind else self.link.send(command)

    # -- hearing -------------------------------------------------------------------------------------

    def heard(self, message: Heard) -> None:
        """Take in what the engine says; an engine that was left says nothing any more."""
        if message.link is not self.link or self.link is None:
            return
        answer = message.answer
        self.link.heard(answer)
        if (then := self._awaited.pop(answer.id, None)) is not None and answer.id:
            then(answer)
            return
        self._take_in(answer)

    def _take_in(self, answer: pr.Answer) -> None:
        app = self._app
        match answer:
            case pr.Fatal() if app.desk is None:
                app.fail(answer)
            case pr.Fatal(error=error):
                app.say(error, problem=True)
            case pr.Loading() if app.desk is None:
                app.show_opening()
            case pr.Ready(session=session):
                self._ready(Path(session))
            case pr.Loading():
                app.note(News.ENGINE)
            case pr.Inspection():
                app.inspections.answered(answer)
                app.note(News.INSPECTION)
            case pr.LayersSeen():
                app.inspections.layers.answered(answer)
                app.note(News.INSPECTION)
            case pr.Stopped():
                app.shell.stopped(answer)
            case pr.StageReport():
                app.note(News.ENGINE)
                if answer.place == "abandoned":
                    app.say(f"step {answer.step} is abandoned: what it would have computed waits again")
            case pr.Reply():
                self._replied(answer)
            case pr.Progress():
                self._open_copy()
                app.look_soon()
                if answer.error:
                    app.say(answer.error, problem=True)

    def _ready(self, session: Path) -> None:
        app = self._app
        if app.desk is None:
            app.open_record(session)
        app.note(News.ENGINE | News.INSPECTION)

    def _open_copy(self) -> None:
        """The engine's first report: the copy of the recording is there, and has its new branch."""
        if self._when_gone_on is not None and self.link is not None:
            then, self._when_gone_on = self._when_gone_on, None
            self._app.reopen_record(self.link.live)
            then()

    def _replied(self, reply: pr.Reply) -> None:
        app = self._app
        if app.inspections.answered(reply) or app.inspections.layers.answered(reply):
            app.note(News.INSPECTION)
        elif reply.error:
            app.say(reply.error, problem=True)
        elif self.behind is None:
            app.look_soon()
            if reply.requests:
                app.say(f"submitted as {', '.join(reply.requests)}")

    def lost(self, message: Lost) -> None:
        """The engine's process has ended."""
        app = self._app
        if message.link is not self.link or self.link is None or app.fatal is not None:
            return
        self.link.ended(message.code)
        self._awaited.clear()
        self._when_gone_on = None
        app.inspections.forget()
        if app.desk is None:
            why = f"the engine ended before the first step: {self.status.text}"
            app.fail(pr.Fatal(error=why, usage=False))
            return
        app.look_soon()
        app.say(f"the engine is gone: {self.status.text}", problem=True)


__all__ = ["Talk", "Then"]
