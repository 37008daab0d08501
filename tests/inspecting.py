"""The workbench with an engine that only answers inspections, at once or when told to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import pytest

from engine import protocol as pr
from tests.sampled import inspection
from workbench.app import WorkbenchApp
from workbench.bench import EngineStatus, News
from workbench.inspections import Inspections

Answering = Callable[[pr.Inspect], pr.Inspection | pr.Reply]


@dataclass
class Asked:
    """What the app asked for. `answer` gives the replies that are due."""

    app: WorkbenchApp
    reply: Answering
    commands: list[pr.Inspect] = field(default_factory=list)
    due: list[pr.Inspect] = field(default_factory=list)
    status: EngineStatus = field(default_factory=lambda: EngineStatus("paused"))

    def send(self, command: pr.Inspect) -> int:
        command = msgspec.structs.replace(command, id=len(self.commands) + 1)
        self.commands.append(command)
        self.due.append(command)
        return command.id

    def run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on the engine goes on by itself."""
        self.status = EngineStatus("running")
        monkeypatch.setattr(type(self.app), "engine", property(lambda _app: self.status))

    def answer(self) -> None:
        """Let every reply that is due arrive."""
        due, self.due = self.due, []
        for command in due:
            self.app.inspections.answered(self.reply(command))
        self.app.note(News.INSPECTION)


def with_inspections(app: WorkbenchApp, reply: Answering | None = None) -> Asked:
    """Let a recorded session's inspections be answered by `reply`; by default from made-up arrays."""

    def made_up(command: pr.Inspect) -> pr.Inspection:
        return inspection(command, app.scene.record.token_ids(command.request))

    asked = Asked(app, reply or made_up)
    app.inspections.send = asked.send
    app.inspections.why_not = lambda: asked.status.why_not
    assert isinstance(app.inspections, Inspections)
    return asked
