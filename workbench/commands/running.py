"""Running the engine: one step, or on and on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.actions import Action
from workbench.bench import News

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp


def take_step(app: WorkbenchApp) -> None:
    """Forward in the past; one more step of the engine at the live end."""
    if not app.clock.live:
        app.move(app.clock.forward)
    elif app.link is not None:
        app.link.step()


def run_or_pause(app: WorkbenchApp) -> None:
    if app.link is None:
        return
    if app.engine.state == "running":
        app.link.pause()
    else:
        app.link.run()
    app.note(News.ENGINE)


def why_no_step(app: WorkbenchApp) -> str | None:
    return app.engine.why_not if app.clock.live else None


RUNNING: tuple[Action[WorkbenchApp], ...] = (
    Action(
        "step", ("n",), "Take the next step", "Run", take_step, "next", why_no_step,
        "In the past the cursor moves one step forward; at the live end the engine computes one.",
    ),
    Action(
        "run", ("c",), "Run or pause", "Run", run_or_pause, "run", lambda app: app.engine.why_not,
        "Steps until paused, or until no request is left.",
    ),
)  # fmt: skip

__all__ = ["RUNNING"]
