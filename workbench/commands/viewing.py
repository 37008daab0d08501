"""Looking: what is selected, how it is shown, and taking a copy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.actions import Action
from workbench.bench import News
from workbench.views.registry import VIEWS, ViewSpec
from workbench.widgets.pane import LinePane
from workbench.widgets.timeline import Timeline

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp


def toggle_own_row(app: WorkbenchApp) -> None:
    app.select(replace(app.selection, own_row=not app.selection.own_row))


def why_no_row(app: WorkbenchApp) -> str | None:
    return "no token is selected" if app.selection.position is None else None


def ask_search(app: WorkbenchApp) -> None:
    from workbench.dialogs import Ask

    view = app.view
    if view is None:
        return

    def find(answer: str | None) -> None:
        if answer:
            app.searched[view.view_name] = answer
            app.say(view.search(answer, 1))

    before = app.searched.get(view.view_name, "")
    app.push_screen(Ask(f"search in {view.title} ", "text; enter finds the next place", before), find)


def maximise(app: WorkbenchApp) -> None:
    if app.screen.maximized is not None:
        app.screen.minimize()
    elif isinstance(app.focused, LinePane) and not isinstance(app.focused, Timeline):
        app.screen.maximize(app.focused, container=False)
    else:
        app.say("tab focuses a pane, and z then maximises it", problem=True)


def back_out(app: WorkbenchApp) -> None:
    if app.screen.maximized is not None:
        app.screen.minimize()
    elif app.view is not None and app.view.back():
        app.note(News.SELECTION)
    else:
        app.leave_view()


def copy_item(app: WorkbenchApp) -> None:
    text = app.focused.copy_text() if isinstance(app.focused, LinePane) else ""
    _copy(app, text, "there is nothing to copy under the cursor")


def copy_view(app: WorkbenchApp) -> None:
    if app.view is not None and app.desk is not None:
        _copy(app, app.view.text(app.desk.scene, max(80, app.size.width)), "the view is empty")


def _copy(app: WorkbenchApp, text: str, nothing: str) -> None:
    if not text:
        app.say(nothing, problem=True)
        return
    app.copy_to_clipboard(text)
    lines = text.count("\n") + 1
    app.say(f"copied {lines} lines" if lines > 1 else f"copied: {text}")


def _opens(view: ViewSpec) -> Action[WorkbenchApp]:
    name = view.name
    return Action(
        f"view.{name}", (str(view.number),), f"Open {view.title}", "Go", lambda app: app.open_view(name),
        help=view.question,
    )  # fmt: skip


VIEWING: tuple[Action[WorkbenchApp], ...] = (
    Action("search", ("/",), "Search in this view", "View", ask_search, "search"),
    Action("maximise", ("z",), "Maximise the focused pane, or restore it", "View", maximise, "maximise"),
    Action(
        "own_row", ("o",), "A token's own row, or the row that chose it", "View", toggle_own_row, "", why_no_row,
        "Views show the row that chose a token, one position before it; its own row is where its KV was written.",
    ),
    Action("copy", ("y",), "Copy what is under the cursor", "View", copy_item),
    Action("copy_view", ("Y",), "Copy the whole view as text", "View", copy_view),
    *map(_opens, VIEWS),
    Action(
        "back_out", ("escape",), "Go back", "Go", back_out,
        help="Restores a maximised pane, undoes drilling in, or opens the view before.",
    ),
)  # fmt: skip

__all__ = ["VIEWING"]
