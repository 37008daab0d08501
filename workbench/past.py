"""Past: answers to the debugger's lines from the record, at the step under the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.debug import commands as do
from engine.debug.looking import info
from engine.debug.registry import Line
from engine.debug.said import Shown
from workbench.commandline import Answer

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp


class Past:
    """Reads the record on the screen."""

    def __init__(self, app: WorkbenchApp) -> None:
        self._app = app

    def answer(self, line: Line, answered: Answer) -> None:
        """Carry a line out; `answered` hears what is wrong with it, or None."""
        match line.command:
            case do.Info(topic=topic):
                record, clock = self._app.scene.record, self._app.clock
                past = record.session.past(clock.step, clock.branch)
                lines = info(topic, past.state, past.tokens, record.token_text, self._app.shell.points)
                answered(None)
                self._app.shell.answer(Shown(lines), line.text.strip())
            case _:
                answered(f"{line.spec.name} needs the engine: L loads the model of a recording")


__all__ = ["Past"]
