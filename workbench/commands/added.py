"""What plugins add, as actions: their views and commands in the palette."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.plug_guard import PluginFailedError
from workbench.actions import Action
from workbench.added import AddedCommand, AddedPage, AddedView, seen_in

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp


def added_actions(app: WorkbenchApp) -> tuple[Action[WorkbenchApp], ...]:
    """An action for each view and command that a plugin brought."""
    added = app.added
    return (*map(_opens, added.views), *map(_runs, added.commands), *map(_tells, added.pages))


def _opens(view: AddedView) -> Action[WorkbenchApp]:
    name = view.name
    about = f"{view.question} (plugin {view.plugin})"
    return Action(f"view.{name}", (), f"Open {view.title}", "Go", lambda app: app.open_view(name), help=about)


def _runs(command: AddedCommand) -> Action[WorkbenchApp]:
    about = f"{command.meaning} (plugin {command.plugin})"
    return Action(
        f"plugin.{command.name}", (), f"Run {command.name}", "Workbench", lambda app: run_added(app, command, ""),
        why_not=lambda app: None if app.desk is not None else "nothing has been recorded yet", help=about,
    )  # fmt: skip


def _tells(page: AddedPage) -> Action[WorkbenchApp]:
    title = f"plugin {page.plugin}"
    return Action(
        f"about.{page.plugin}", (), f"About {title}", "Workbench",
        lambda app: app.shell.show(page.lines, title), help=page.about,
    )  # fmt: skip


def run_added(app: WorkbenchApp, command: AddedCommand, arguments: str) -> None:
    """Run a plugin's command and show its answer, or why there is none."""
    first = command.failure is None
    try:
        lines = command.run(arguments, seen_in(app.scene))
    except PluginFailedError as failure:
        if first:
            app.plugin_failed(failure)
        else:
            app.say(f"{failure}; it is not asked again", problem=True)
        return
    app.shell.show(lines or ["done"], command.name)


__all__ = ["added_actions", "run_added"]
