"""Giving the engine requests, and taking them back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import protocol as pr
from workbench.actions import Action
from workbench.commands.going_on import when_engine_goes, why_no_going
from workbench.commands.inside import say_if_held

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp


def open_prompt(app: WorkbenchApp) -> None:
    when_engine_goes(app, lambda: ask_prompt(app))


def ask_prompt(app: WorkbenchApp) -> None:
    from workbench.promptbox import PromptBox

    def submit(request: pr.RequestText | None) -> None:
        if request is not None and app.link is not None:
            app.link.send(pr.Submit(request=request))
            say_if_held(app)

    app.push_screen(PromptBox(), submit)


def ask_abort(app: WorkbenchApp) -> None:
    from workbench.dialogs import Confirm

    request = app.selection.request

    def abort(sure: bool | None) -> None:
        if sure and app.link is not None and request is not None:
            app.link.send(pr.Abort(request=request))
            say_if_held(app)

    app.push_screen(Confirm(f"Abort request {request}? What it has generated stays recorded.", "abort"), abort)


def why_no_abort(app: WorkbenchApp) -> str | None:
    if (why := app.engine.why_not) is not None:
        return why
    request = app.selection.request
    if request is None or app.desk is None:
        return "no request is selected"
    row = app.desk.record.request(request)
    return None if row is not None and row.finished_step is None else f"request {request} has ended"


def open_explanation(app: WorkbenchApp) -> None:
    from workbench.explainbox import ExplainBox

    request = app.selection.request
    if app.desk is not None and request is not None:
        record = app.desk.record
        app.push_screen(ExplainBox(record.path, record.branch, request))


def why_no_explanation(app: WorkbenchApp) -> str | None:
    return "no request is selected" if app.desk is None or app.selection.request is None else None


REQUESTS: tuple[Action[WorkbenchApp], ...] = (
    Action(
        "prompt", ("p",), "Submit a prompt", "Requests", open_prompt, "prompt", why_no_going,
        "Also while the engine runs: the request is considered in the next step.",
    ),
    Action("abort", ("a",), "Abort the selected request", "Requests", ask_abort, "", why_no_abort),
    Action(
        "explain", ("e",), "Explain the selected request", "Requests", open_explanation, "", why_no_explanation,
        "Its whole life: why it waited, missed the cache or was preempted, and what that cost.",
    ),
)  # fmt: skip

__all__ = ["REQUESTS"]
