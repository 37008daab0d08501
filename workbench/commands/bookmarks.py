"""Bookmarks: naming a moment, and going to one that was named."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.actions import Action

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp
    from workbench.bookmarks import Bookmark


def ask_bookmark(app: WorkbenchApp) -> None:
    from workbench.dialogs import Ask

    assert app.desk is not None

    def put(name: str | None) -> None:
        if name:
            bookmark(app, name)

    app.push_screen(Ask("bookmark ", "a name for this moment", app.desk.bookmarks.new_name()), put)


def bookmark(app: WorkbenchApp, name: str) -> None:
    """Name the moment under the cursor, and what is selected there."""
    from workbench.bookmarks import Bookmark, BookmarkError

    assert app.desk is not None
    clock, chosen = app.clock, app.selection
    try:
        app.desk.bookmarks.put(Bookmark(name, clock.branch, clock.step, chosen.request, chosen.position))
    except BookmarkError as error:
        app.say(str(error), problem=True)
    else:
        app.say(f"bookmark {name}: {where(app, clock.branch, clock.step)}; ' goes to bookmarks")


def where(app: WorkbenchApp, branch: int, step: int) -> str:
    """A moment in words; the branch where there are several."""
    several = app.desk is not None and app.desk.branches.several
    return f"step {step} of branch {branch}" if several else f"step {step}"


def choose_bookmark(app: WorkbenchApp) -> None:
    """A list of them: one is gone to, or removed."""
    from workbench.bookmarks import BookmarkError
    from workbench.chooser import Chooser, Chosen

    assert app.desk is not None
    marks = list(app.desk.bookmarks)

    def take(chosen: Chosen | None) -> None:
        assert app.desk is not None
        if chosen is None:
            return
        mark = marks[chosen.at]
        if chosen.what == "open":
            go_to(app, mark)
            return
        try:
            app.desk.bookmarks.remove(mark.name)
        except BookmarkError as error:
            app.say(str(error), problem=True)
        else:
            app.say(f"bookmark {mark.name} is removed")

    app.push_screen(Chooser("bookmarks", [words(app, mark) for mark in marks], removable=True), take)


def words(app: WorkbenchApp, mark: Bookmark) -> str:
    """A bookmark in one line."""
    at = f", position {mark.position}" if mark.position is not None else ""
    what = f"  request {mark.request}{at}" if mark.request is not None else ""
    return f"{mark.name}  {where(app, mark.branch, mark.step)}{what}"


def go_to(app: WorkbenchApp, mark: Bookmark) -> None:
    """Go to the moment, and select what was selected then."""
    assert app.desk is not None
    if not app.desk.branches.has(mark.branch) or mark.step > app.desk.branches.last_step(mark.branch):
        app.say(
            f"bookmark {mark.name} is of {where(app, mark.branch, mark.step)}, which is not there", problem=True
        )
        return
    app.seek(mark.step, mark.branch)
    app.select(replace(app.selection, request=mark.request, position=mark.position))
    app.say(f"bookmark {mark.name}: {where(app, mark.branch, mark.step)}")


def why_no_record(app: WorkbenchApp) -> str | None:
    return "nothing has been recorded yet" if app.desk is None else None


def why_no_bookmarks(app: WorkbenchApp) -> str | None:
    if app.desk is None:
        return why_no_record(app)
    return None if len(app.desk.bookmarks) else "there are no bookmarks: M makes one"


BOOKMARKS: tuple[Action[WorkbenchApp], ...] = (
    Action(
        "bookmark", ("M",), "Bookmark this moment", "Time", ask_bookmark, "", why_no_record,
        "Kept in your own folder: a recorded session is never written to.",
    ),
    Action("bookmarks", ("'",), "Go to a bookmark", "Time", choose_bookmark, "", why_no_bookmarks),
)  # fmt: skip

__all__ = ["BOOKMARKS", "bookmark", "go_to", "words"]
