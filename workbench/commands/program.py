"""The program itself: exporting, help, the palette, and leaving."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from workbench.actions import Action
from workbench.widgets.pane import LinePane

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp
    from workbench.exporting import ExportJob


def open_export(app: WorkbenchApp) -> None:
    from workbench.exportbox import ExportBox

    def begin(job: ExportJob | None) -> None:
        if job is not None:
            app.say(f"exporting to {job.target} …")
            app.run_worker(partial(_export, app, job), name="export", thread=True, exit_on_error=False)

    if app.desk is not None:
        app.push_screen(ExportBox(app.desk.record.path), begin)


def _export(app: WorkbenchApp, job: ExportJob) -> None:
    """On a worker's thread: it reads the session, writes a file, and touches nothing else."""
    from workbench.exporting import ExportError, run_export

    try:
        said, problem = run_export(job), False
    except ExportError as error:
        said, problem = str(error), True
    app.call_from_thread(partial(app.say, said, problem=problem))


def why_no_export(app: WorkbenchApp) -> str | None:
    return "nothing has been recorded yet" if app.desk is None else None


def open_help(app: WorkbenchApp) -> None:
    from workbench.help import Help, help_facts

    if app.view is None:
        return
    pane = app.focused if isinstance(app.focused, LinePane) else None
    question = app.view.question[:1].upper() + app.view.question[1:]
    about = f"{question} {app.view.help_text}".strip()
    app.push_screen(
        Help(app.view.title, help_facts(about, pane, [*app.actions.of_app(), *app.actions.of_view(app.view)]))
    )


def ask_quit(app: WorkbenchApp) -> None:
    from workbench.dialogs import Confirm

    def leave(sure: bool | None) -> None:
        if sure:
            app.exit(0)

    if app.engine.state == "running":
        question = "The engine is running. It will finish its step and close the session."
        app.push_screen(Confirm(question, "quit"), leave)
    else:
        app.exit(0)


PROGRAM: tuple[Action[WorkbenchApp], ...] = (
    Action("export", ("x",), "Export this session", "Workbench", open_export, "export", why_no_export),
    Action("help", ("?",), "Help for the focused pane, and all keys", "Workbench", open_help, "help"),
    Action(
        "palette", ("ctrl+p",), "Every action by name", "Workbench", lambda app: app.action_command_palette(),
        "palette",
    ),
    Action("quit", ("q",), "Quit", "Workbench", ask_quit, "quit", help="Asks while the engine runs."),
)  # fmt: skip

__all__ = ["PROGRAM", "ask_quit"]
