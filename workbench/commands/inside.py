"""Stepping inside a forward pass: from any view; the Layers view shows where it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine import protocol as pr
from workbench.actions import Action
from workbench.commands.going_on import when_engine_goes, why_no_going

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp


Answered = Callable[[str | None], None]
"""Hears what came of a change: None, or why it was not made."""


def step_into(app: WorkbenchApp) -> None:
    """Stand before the first stage of the next step, or run on to the next stage."""
    if app.engine.inside is not None:
        next_stage(app)
    else:
        when_engine_goes(app, lambda: _begin(app))
    app.open_view("layers")


def next_stage(app: WorkbenchApp) -> None:
    app.walk(pr.NextStage(request=app.selection.request))


def say_if_held(app: WorkbenchApp) -> None:
    """What was just asked of the engine is queued there, if a step is under way."""
    if (step := app.engine.under_way) is not None:
        app.say(f"queued until step {step} is over: c goes on, :finish ends it, :abandon gives it up")


def when_over(app: WorkbenchApp, answered: Answered) -> Answered:
    """Who hears of a change: whoever asked; or, where it is queued, the message line, and `answered` at once."""
    if app.engine.under_way is None:
        return answered
    answered(None)
    say_if_held(app)
    return lambda problem: app.say(problem, problem=True) if problem else None


def _begin(app: WorkbenchApp) -> None:
    def take(answer: pr.Answer) -> None:
        if isinstance(answer, pr.StageReport) and answer.over:
            app.say(f"step {answer.step} had nothing to compute: no request could run", problem=True)
        elif isinstance(answer, pr.Reply) and answer.error:
            app.say(answer.error, problem=True)
        app.look_soon()

    if app.link is not None:
        app.talk.send(pr.StepInto(request=app.selection.request), take)


def why_no_step_into(app: WorkbenchApp) -> str | None:
    if (why := why_no_going(app)) is not None:
        return why
    if app.clock.live or app.engine.state == "looking":
        return None
    return "this is the past: G goes to the newest step, and only the next one can be stepped into"


INSIDE: tuple[Action[WorkbenchApp], ...] = (
    Action(
        "into", ("s",), "Step inside the forward pass, stage by stage", "Run", step_into, "into",
        why_no_step_into,
        "Opens Layers. Inside, s and n run on to the next stage, c goes on with the run; what else you ask of the"
        " engine waits until the step is over.",
    ),
)  # fmt: skip

__all__ = ["INSIDE", "next_stage", "say_if_held", "when_over"]
