"""Going on from a recording whose model was loaded: asked once, because a new file is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp


def when_engine_goes(app: WorkbenchApp, then: Callable[[], None]) -> None:
    """Do something that needs an engine that goes on; from a recording, ask and start one first."""
    if app.engine.state == "looking":
        ask_to_go_on(app, then)
    else:
        then()


def ask_to_go_on(app: WorkbenchApp, then: Callable[[], None]) -> None:
    """Ask whether to go on from the cursor in a copy of the recording; `then` once the engine is there."""
    from workbench.dialogs import Confirm
    from workbench.going_on import copy_name

    assert app.desk is not None
    record, cursor = app.desk.record, app.clock.cursor
    target = copy_name(record.path, cursor.step)

    def begin(sure: bool | None) -> None:
        if sure:
            _begin(app, then)

    branch = f" of branch {cursor.branch}" if app.desk.branches.several else ""
    question = (
        f"Go on from step {cursor.step}{branch}, in a copy? {record.path.name} stays as it is; its copy gets a"
        f" new branch there and grows: {target}"
    )
    app.push_screen(Confirm(question, "go on in the copy"), begin)


def _begin(app: WorkbenchApp, then: Callable[[], None]) -> None:
    from workbench.going_on import copy_name, launch

    assert app.desk is not None
    assert app.link is not None
    record, cursor = app.desk.record, app.clock.cursor
    target = copy_name(record.path, cursor.step)
    app.say(f"copying the recording to {target}, and loading the model to go on from step {cursor.step} …")
    app.talk.go_on_with(launch(record, cursor, target, app.source.command, app.link.live.model), then)


def why_no_going(app: WorkbenchApp) -> str | None:
    """Why the engine cannot go on, now or after being asked to in a copy."""
    if app.engine.state == "looking":
        return None
    if app.engine.state == "none" and app.source.command:
        return "this is a recorded session: L loads its model, and then it can go on in a copy"
    return app.engine.why_not


__all__ = ["ask_to_go_on", "when_engine_goes", "why_no_going"]
