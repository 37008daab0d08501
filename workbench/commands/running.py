"""Running the engine: one step, or on and on; and starting one to look at a recording."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from workbench.actions import Action
from workbench.bench import News
from workbench.commands.going_on import when_engine_goes, why_no_going
from workbench.commands.inside import next_stage

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp
    from workbench.engine_link import EngineLink


def take_step(app: WorkbenchApp) -> None:
    """Forward in the past; one more step of the engine at the live end, or one more stage inside of one."""
    if not app.clock.live:
        app.move(app.clock.forward)
    elif app.engine.inside is not None:
        next_stage(app)
    else:
        when_engine_goes(app, lambda: _link(app).step())


def _link(app: WorkbenchApp) -> EngineLink:
    assert app.link is not None, "actions that need an engine ask first"
    return app.link


def run_or_pause(app: WorkbenchApp) -> None:
    when_engine_goes(app, lambda: _run_or_pause(app))


def _run_or_pause(app: WorkbenchApp) -> None:
    if app.link is None:
        return
    if app.engine.state == "running":
        app.link.pause()
    else:
        app.link.run()
    app.note(News.ENGINE)


def load_model(app: WorkbenchApp) -> None:
    """Start an engine on the recorded model, once its hashes are found to be those of the recording."""
    app.say("comparing the model with the recording …")
    app.run_worker(partial(_load, app), name="load", thread=True, exit_on_error=False)


def _load(app: WorkbenchApp) -> None:
    """On a worker's thread: it reads the weights to hash them, and touches nothing else."""
    from workbench.model_behind import ModelBehind, ModelMissingError, check_model

    assert app.desk is not None
    record = app.desk.record
    try:
        folder = check_model(record.about)
        behind = ModelBehind(app.shown_record)
        live = behind.launch(app.source.command, folder)
    except ModelMissingError as error:
        app.call_from_thread(partial(app.say, str(error), problem=True))
        return
    app.call_from_thread(app.talk.look_with, behind, live)


def why_no_load(app: WorkbenchApp) -> str | None:
    if app.desk is None or app.engine.state not in ("none", "gone"):
        return "the model is here, or on its way"
    return None if app.source.command else "this program was not told how to start an engine"


def why_no_step(app: WorkbenchApp) -> str | None:
    if app.clock.live:
        return why_no_going(app)
    return f"branch {app.clock.branch} ends here: G goes to the branch that goes on" if app.clock.at_end else None


RUNNING: tuple[Action[WorkbenchApp], ...] = (
    Action(
        "step", ("n",), "Take the next step", "Run", take_step, "next", why_no_step,
        "In the past the cursor moves one step forward; at the live end the engine computes one.",
    ),
    Action(
        "run", ("c",), "Run or pause", "Run", run_or_pause, "run/pause", why_no_going,
        "Steps until paused, or until no request is left.",
    ),
    Action(
        "load", ("L",), "Load the model behind this recording", "Run", load_model, "load", why_no_load,
        "Then attention and logits of recorded tokens can be computed again, and n, c, p and F go on in a copy.",
    ),
)  # fmt: skip

__all__ = ["RUNNING"]
