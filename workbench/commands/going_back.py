"""Going back for real: the engine itself returns to the step under the cursor, and a branch begins there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from engine import events as ev
from engine import protocol as pr
from engine.wording import sentence
from engine.wording.changes import exact_cost, rewind_cost
from workbench.actions import Action
from workbench.commands.going_on import ask_to_go_on, why_no_going

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp
    from workbench.dialogs import Way


def ask_rewind(app: WorkbenchApp) -> None:
    """Go back to the step under the cursor."""
    ask_rewind_to(app, app.clock.step)


def ask_rewind_to(app: WorkbenchApp, step: int, *, exact: bool = False) -> None:
    """Find out what going back to a step of the branch on the screen takes, and ask which way."""
    branch = app.clock.branch
    if app.engine.state == "looking":
        app.seek(step)
        ask_to_go_on(app, lambda: None)
        return
    costs: dict[bool, pr.Answer] = {}
    wanted = (True,) if exact else (False, True)

    def hear(way: bool, answer: pr.Answer) -> None:
        costs[way] = answer
        if len(costs) == len(wanted):
            _decide(app, branch, step, costs)

    for way in wanted:
        command = pr.Rewind(step=step, branch=branch, exact=way, dry=True)
        app.talk.send(command, partial(hear, way))


def _decide(app: WorkbenchApp, branch: int, step: int, costs: dict[bool, pr.Answer]) -> None:
    from workbench.dialogs import Decide

    found = [answer for answer in costs.values() if isinstance(answer, pr.Rewound)]
    if not found:
        app.say(_refused(next(iter(costs.values()))), problem=True)
        return
    ways = [_way(exact, answer) for exact, answer in costs.items()]
    question = (
        f"Take the engine back to the end of step {step}? What follows will be branch {found[0].branch};"
        " nothing that was recorded is lost."
    )
    app.push_screen(
        Decide(question, ways, "stay"), lambda way: rewind(app, branch, step, exact=way == "e") if way else None
    )


def _way(exact: bool, cost: pr.Answer) -> Way:
    """One way back: what it takes, or why it cannot be."""
    from workbench.dialogs import Way

    key, how = ("e", "exactly, bit by bit") if exact else ("y", "go back")
    if not isinstance(cost, pr.Rewound):
        return Way(key, how, _refused(cost))
    takes = exact_cost(cost.replayed_steps, cost.replayed_from) if exact else rewind_cost(cost.recomputed_tokens)
    return Way(key, f"{how}: {takes}")


def _refused(answer: pr.Answer) -> str:
    return (answer.error if isinstance(answer, pr.Reply) else None) or "the engine gave no answer"


def rewind(app: WorkbenchApp, branch: int, step: int, *, exact: bool) -> None:
    """Take the engine back; the screen follows it to the new branch."""

    def done(answer: pr.Answer) -> None:
        if not isinstance(answer, pr.Rewound):
            app.say(_refused(answer), problem=True)
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


def why_under_way(app: WorkbenchApp) -> str | None:
    """Why the engine cannot go back: what that takes is known when the step under way is over."""
    if app.engine.state == "looking" or app.engine.under_way is None:
        return None
    return "a step is under way: c goes on, :finish ends it, :abandon gives it up"


def why_no_rewind(app: WorkbenchApp) -> str | None:
    if (why := why_no_going(app) or why_under_way(app)) is not None:
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

__all__ = ["GOING_BACK", "ask_rewind_to", "branch_words", "rewind", "turn_to_branch", "why_no_branches"]
