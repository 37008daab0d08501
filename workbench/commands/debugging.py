"""The debugger's command line, and the points that halt the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.actions import Action

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp


def open_command_line(app: WorkbenchApp, begun: str = "") -> None:
    from workbench.commandline import CommandLine
    from workbench.completing import Offered

    assert app.desk is not None
    requests = [row.request for row in app.desk.moment.requests]
    added = app.added
    offered = Offered(
        requests,
        [mark.name for mark in app.desk.bookmarks],
        [command.name for command in added.commands],
        [view.name for view in added.views],
    )
    app.push_screen(CommandLine(app.shell.run, app.shell.history, offered, begun))


def list_points(app: WorkbenchApp) -> None:
    app.shell.run("info breakpoints", lambda problem: app.say(problem, problem=True) if problem else None)


def why_no_line(app: WorkbenchApp) -> str | None:
    return "nothing has been recorded yet" if app.desk is None else None


DEBUGGING: tuple[Action[WorkbenchApp], ...] = (
    Action(
        "command", (":",), "Type a command of the debugger", "Run", open_command_line, "", why_no_line,
        "tab completes, up and down take lines that were typed before; `help` lists the commands.",
    ),
    Action(
        "break", ("b",), "Stop where a condition holds", "Run", lambda app: open_command_line(app, "break if "),
        "break", why_no_line, "Such as entropy > 3, kv.free < 4 or layer(5).attn_out.nan > 0.",
    ),
    Action("points", ("i",), "List the points that stop the engine", "Run", list_points, "", why_no_line),
)  # fmt: skip

__all__ = ["DEBUGGING", "open_command_line"]
