"""Past: answers to the debugger's lines from the record, at the step under the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from engine.debug.errors import DebugError, LacksError
from engine.debug.registry import Line
from engine.debug.said import PointInfo, Shown
from sessions.debug.console import Cursor, RecordConsole
from sessions.errors import SessionError
from workbench.commandline import Answer

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp


class Past:
    """Reads the record on the screen, on a thread and a connection of its own, a line at a time."""

    def __init__(self, app: WorkbenchApp) -> None:
        self._app = app
        self._console: RecordConsole | None = None
        self._busy = False

    def answer(self, line: Line, answered: Answer, *, otherwise: str | None = None) -> None:
        """Carry a line out; `answered` hears what is wrong with it, or None.

        `otherwise` is what to say where the record lacks it, too.
        """
        app, chosen = self._app, self._app.selection
        if self._busy:
            answered("the line before this one is still being worked on")
            return
        self._busy = True
        cursor = Cursor(app.clock.branch, app.clock.step, chosen.request, chosen.position)
        points = app.shell.points if app.engine.records else None
        work = partial(self._work, line, cursor, points, answered, otherwise)
        app.run_worker(work, name="past", thread=True, exit_on_error=False)

    def close(self) -> None:
        """Let go of the session."""
        if self._console is not None and not self._busy:
            self._console.session.close()
            self._console = None

    def _work(
        self,
        line: Line,
        cursor: Cursor,
        points: Sequence[PointInfo] | None,
        answered: Answer,
        otherwise: str | None,
    ) -> None:
        """On the worker's thread."""
        try:
            console = self._console_now()
            console.session.refresh()
            found: Shown | str = console.carry_out(line.command, cursor, points)
        except LacksError as error:
            found = otherwise or str(error)
        except (DebugError, SessionError) as error:
            found = str(error)
        self._app.call_from_thread(self._tell, line, found, answered)

    def _tell(self, line: Line, found: Shown | str, answered: Answer) -> None:
        self._busy = False
        answered(found if isinstance(found, str) else None)
        if isinstance(found, Shown):
            if not self._app.engine.records and self._console is not None:
                self._app.shell.points = self._console.keeper.points.infos
            self._app.shell.answer(found, line.text.strip())

    def _console_now(self) -> RecordConsole:
        """The console over the session on the screen."""
        session = self._app.scene.record.session
        if self._console is None or self._console.session.path != session.path:
            progress = partial(self._app.call_from_thread, self._app.say)
            self._console = RecordConsole(session.reopen(), progress=progress)
        return self._console


__all__ = ["Past"]
