"""Going back for real: the engine itself returns to the step under the cursor, and a branch begins there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import events as ev
from engine import protocol as pr
from engine.change_wording import exact_cost, rewind_cost
from engine.wording import sentence
from workbench.actions import Action
from workbench.commands.going_on import ask_to_go_on, why_no_going

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp


def ask_rewind(app: WorkbenchApp) -> None:
    """Find out what going back takes, either way, and ask which."""
    if app.engine.state == "looking":
        ask_to_go_on(app, lambda: None)
        return
    cursor = app.clock.cursor
    costs: dict[bool, pr.Answer] = {}

    def hear(exact: bool, answer: pr.Answer) -> None:
        costs[exact] = answer
        if len(costs) == 2:
            _decide(app, cursor.branch, cursor.step, costs)

    for exact in (False, True):
        command = pr.Rewind(step=cursor.step, branch=cursor.branch, exact=exact, dry=True)
        app.talk.send(command, lambda answer, exact=exact: hear(exact, answer))  # type: ignore[misc]


def _decide(app: WorkbenchApp, branch: int, step: int, costs: dict[bool, pr.Answer]) -> None:
    from workbench.dialogs import Decide, Way

    quick, exact = costs[False], costs[True]
    if not isinstance(quick, pr.Rewound):
        app.say(quick.error or "" if isinstance(quick, pr.Reply) else "", problem=True)
        return
    ways = [
        Way("y", f"go back: {rewind_cost(quick.recomputed_tokens)}"),
        Way("e", f"exactly, bit by bit: {exact_cost(exact.replayed_steps, exact.replayed_from)}")
        if isinstance(exact, pr.Rewound)
        else Way("e", "exactly, bit by bit", (exact.error or "") if isinstance(exact, pr.Reply) else "no answer"),
    ]
    question = (
        f"Take the engine back to the end of step {step}? What follows will be branch {quick.branch};"
        " nothing that was recorded is lost."
    )
    app.push_screen(
        Decide(question, ways, "stay"), lambda way: rewind(app, branch, step, exact=way == "e") if way else None
    )


def rewind(app: WorkbenchApp, branch: int, step: int, *, exact: bool) -> None:
    """Take the engine back; the screen follows it to the new branch."""

    def done(answer: pr.Answer) -> None:
        if not isinstance(answer, pr.Rewound):
            app.say((answer.error or "") if isinstance(answer, pr.Reply) else "", problem=True)
            return
        app.inspections.start_anew()
        app.look_now()
        app.go_live()
        began = ev.Branched(
            branch=answer.branch, step=answer.step, parent=branch, recomputed_tokens=answer.recomputed_tokens,
            replayed_steps=answer.replayed_steps,
        )  # fmt: skip
        app.say(sentence(began, app.scene.record.token_text))

    app.say(f"going back to step {step} …")
    app.talk.send(pr.Rewind(step=step, branch=branch, exact=exact), done)


def why_no_rewind(app: WorkbenchApp) -> str | None:
    if (why := why_no_going(app)) is not None:
        return why
    if app.clock.live and app.engine.state != "looking":
        return "this is where the engine stands: [ or g goes to a step of the past first"
    return None


def choose_branch(app: WorkbenchApp) -> None:
    """A list of the branches; the one that is chosen is looked at, and the engine stays where it is."""
    from workbench.chooser import Chooser, Chosen

    assert app.desk is not None
    branches, here = app.desk.branches, app.clock.branch
    rows = list(branches.rows)

    def turn(chosen: Chosen | None) -> None:
        if chosen is not None:
            turn_to_branch(app, rows[chosen.at].branch)

    lines = [branch_words(app, row.branch) for row in rows]
    at = next(index for index, row in enumerate(rows) if row.branch == here)
    app.push_screen(Chooser("branches", lines, at=at), turn)


def branch_words(app: WorkbenchApp, branch: int) -> str:
    """A branch in one line: where it begins and ends."""
    assert app.desk is not None
    row = next(row for row in app.desk.branches.rows if row.branch == branch)
    begins = "from the start" if row.parent is None else f"after step {row.parent_step} of branch {row.parent}"
    newest = branch == app.desk.branches.newest
    goes_on = ", goes on" if newest and app.engine.records else ""
    here = ", on the screen" if branch == app.clock.branch else ""
    return f"branch {branch}: begins {begins}, to step {app.desk.branches.last_step(branch)}{goes_on}{here}"


def turn_to_branch(app: WorkbenchApp, branch: int) -> None:
    """Look at a branch: at the step under the cursor where it has that, else at its end."""
    assert app.desk is not None
    if branch == app.clock.branch:
        return
    if branch == app.desk.branches.newest and app.clock.at_end:
        app.go_live()
        return
    app.turn_to(branch, app.clock.step)


def why_no_branches(app: WorkbenchApp) -> str | None:
    if app.desk is None or not app.desk.branches.several:
        return "there is one branch only: R goes back for real and begins another"
    return None


GOING_BACK: tuple[Action[WorkbenchApp], ...] = (
    Action(
        "rewind", ("R",), "Take the engine back to this step", "Time", ask_rewind, "rewind", why_no_rewind,
        "Says first what that takes. What follows is a new branch; nothing that was recorded is lost.",
    ),
    Action(
        "branches", ("B",), "Look at another branch", "Time", choose_branch, "", why_no_branches,
        "The cursor stays at its step where the other branch has it; the engine stays where it is.",
    ),
)  # fmt: skip

__all__ = ["GOING_BACK", "branch_words", "rewind", "turn_to_branch", "why_no_branches"]
