"""Moving through recorded time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.actions import Action

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp
    from workbench.record import Direction


def seek_notable(app: WorkbenchApp, direction: Direction) -> None:
    if app.desk is not None:
        app.moved(app.desk.seek_notable(direction))


def ask_step(app: WorkbenchApp) -> None:
    from workbench.dialogs import Ask

    last = app.clock.last_step

    def go(answer: str | None) -> None:
        if answer is None:
            return
        if not answer.removeprefix("-").isdecimal():
            app.say(f"{answer!r} is not a step: give a number from 0 to {last}", problem=True)
            return
        step = int(answer)
        app.seek(step if not answer.startswith("-") else last + step)

    app.push_screen(Ask("go to step ", f"0 to {last}, or -3 for three before the last"), go)


def why_no_back(app: WorkbenchApp) -> str | None:
    return "this is the first step" if app.clock.step == 0 else None


def why_no_forward(app: WorkbenchApp) -> str | None:
    if app.clock.live:
        return "this is the newest step"
    return f"branch {app.clock.branch} ends here: G goes to the branch that goes on" if app.clock.at_end else None


def why_no_live(app: WorkbenchApp) -> str | None:
    return "the screen follows the run already" if app.clock.live else None


TIME: tuple[Action[WorkbenchApp], ...] = (
    Action(
        "back", ("[", ","), "One step back", "Time", lambda app: app.move(app.clock.back), "back", why_no_back,
        "Every view shows the run as it was after that step.",
    ),
    Action(
        "forward", ("]", "."), "One step forward", "Time", lambda app: app.move(app.clock.forward), "forward",
        why_no_forward,
    ),
    Action(
        "previous_notable", ("{",), "The notable step before", "Time", lambda app: seek_notable(app, -1),
        "notable", why_no_back, "Notable: a request admitted, preempted or ended, blocks evicted, a failed step.",
    ),
    Action(
        "next_notable", ("}",), "The next notable step", "Time", lambda app: seek_notable(app, 1), "",
        why_no_forward,
    ),
    Action("goto", ("g",), "Go to a step", "Time", ask_step, "go to"),
    Action(
        "live", ("G",), "Follow the run again", "Time", lambda app: app.go_live(), "live",
        why_no_live,
    ),
)  # fmt: skip

__all__ = ["TIME"]
