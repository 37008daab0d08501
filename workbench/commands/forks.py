"""Changing one thing: forks, and preempting, evicting and another policy by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from engine import protocol as pr
from engine.protocol import ForkText
from workbench.actions import Action
from workbench.commands.going_on import when_engine_goes, why_no_going
from workbench.commands.inside import say_if_held, when_over
from workbench.forking import ForkHint, Parent

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp
    from workbench.forkbox import Choice
    from workbench.record import Record


def open_fork(app: WorkbenchApp) -> None:
    """Ask what to change, where; the view on the screen may know."""
    hint = (app.view.fork_hint() if app.view else None) or ForkHint()
    when_engine_goes(app, lambda: ask_fork(app, hint))


def ask_fork(app: WorkbenchApp, hint: ForkHint) -> None:
    """The fork box for the selected request."""
    from workbench.forkbox import ForkBox

    assert app.desk is not None
    record, chosen = app.desk.record, app.selection
    parent = parent_of(record, chosen.request)
    if parent is None:
        app.say(f"there is no request {chosen.request} in branch {record.branch} to fork", problem=True)
        return
    chosen_at = chosen.position if chosen.position is not None else _newest(app, parent)
    position = hint.position if hint.position is not None else chosen_at
    hint = ForkHint(position, hint.token, hint.params, hint.stages)

    def choices(at: int) -> Sequence[Choice]:
        return choices_at(record, parent.request, at)

    app.push_screen(
        ForkBox(parent, hint, choices, record.session.vocabulary.decode, lambda *asked: send(app, *asked))
    )


def _newest(app: WorkbenchApp, parent: Parent) -> int:
    """The position of the token that was chosen last at the moment, or of the first that will be."""
    return max(app.scene.moment.token_count(parent.request) - 1, parent.prompt_tokens)


def parent_of(record: Record, request: str | None) -> Parent | None:
    """What is to be known of a request to fork it."""
    row = None if request is None else record.request(request)
    if row is None:
        return None
    shape = record.about.shape
    return Parent(
        row.request, record.token_ids(row.request), row.prompt_tokens, row.sampling, shape.layers, shape.heads,
        record.token_text,
    )  # fmt: skip


def choices_at(record: Record, request: str, position: int) -> Sequence[Choice]:
    """The candidates that were recorded for a position, the likeliest first."""
    from workbench.forkbox import Choice

    details = record.details(request, position)
    if details is None:
        return ()
    rows = range(len(details.candidates))
    found = [
        Choice(
            details.candidates.ids[row],
            details.candidates.prob[row],
            details.candidates.ids[row] == details.token,
        )
        for row in rows
    ]
    return sorted(found, key=lambda choice: -choice.probability)


def send(app: WorkbenchApp, fork: ForkText, answered: Callable[[str | None], None]) -> None:
    """Ask the engine for a fork; `answered` hears why not, or None: it is made, or queued behind a step."""

    def take(answer: pr.Answer) -> None:
        assert isinstance(answer, pr.Reply)
        heard(answer.error)
        if answer.error is None:
            app.look_soon()
            app.say(
                f"request {', '.join(answer.requests)} forks from {fork.parent} at position {fork.at_position}"
            )

    if app.link is None or (why := app.engine.why_not) is not None:
        answered(why or "there is no engine")
    else:
        heard = when_over(app, answered)
        app.talk.send(pr.Fork(fork=fork), take)


def why_no_fork(app: WorkbenchApp) -> str | None:
    if (why := why_no_going(app)) is not None:
        return why
    if app.selection.request is None:
        return "no request is selected"
    return why_other_branch(app)


def why_other_branch(app: WorkbenchApp) -> str | None:
    """Why nothing can be changed here: the engine stands elsewhere."""
    if app.desk is None or app.clock.newest or app.engine.state == "looking":
        return None
    return f"the engine stands in branch {app.desk.branches.newest}, and this is branch {app.clock.branch}"


def why_no_family(app: WorkbenchApp) -> str | None:
    """Why there is nobody to put the selected request beside."""
    request = app.selection.request
    row = None if request is None or app.desk is None else app.desk.record.request(request)
    if row is None or app.desk is None:
        return "no request is selected"
    is_parent = row.arrival in app.desk.record.requests().parents().values()
    return (
        None
        if row.parent is not None or is_parent
        else f"request {request} is no fork, and has none: F makes one"
    )


# -- by hand -------------------------------------------------------------------------------------------


def tell(app: WorkbenchApp, command: pr.Command, done: str) -> None:
    """Send a command that changes the run, and say when it is done."""

    def take(answer: pr.Answer) -> None:
        error = answer.error if isinstance(answer, pr.Reply) else None
        app.look_soon()
        app.say(error or done, problem=error is not None)

    app.talk.send(command, take)
    say_if_held(app)


def preempt(app: WorkbenchApp) -> None:
    request = app.selection.request
    assert request is not None
    tell(app, pr.Preempt(request=request), f"request {request} is preempted; it waits to be admitted again")


def why_no_preempt(app: WorkbenchApp) -> str | None:
    if (why := _why_not_here(app)) is not None:
        return why
    request = app.selection.request
    if request is None or app.desk is None:
        return "no request is selected"
    return None if request in app.desk.moment.state.running else f"request {request} is not running"


def ask_evict(app: WorkbenchApp) -> None:
    from workbench.dialogs import Confirm

    block = app.selection.block
    assert block is not None

    def evict(sure: bool | None) -> None:
        if sure:
            tell(app, pr.Evict(block=block), f"block {block} is evicted, with the cached blocks that followed it")

    app.push_screen(
        Confirm(f"Evict block {block}, and the cached blocks that follow it in the tree?", "evict"), evict
    )


def why_no_evict(app: WorkbenchApp) -> str | None:
    if (why := _why_not_here(app)) is not None:
        return why
    return "no block is selected" if app.selection.block is None else None


def ask_policy(app: WorkbenchApp) -> None:
    from workbench.dialogs import Ask

    def change(policy: str | None) -> None:
        if policy is not None:
            command = pr.SetPolicy(policy=policy)
            tell(app, command, f"from the next step on requests are admitted by policy {policy}")

    app.push_screen(Ask("admit requests by ", "fcfs, lpm, or the name of a plugin's policy"), change)


def _why_no_change(app: WorkbenchApp) -> str | None:
    return app.engine.why_not or why_other_branch(app)


def _why_not_here(app: WorkbenchApp) -> str | None:
    """Why what is on the screen cannot be changed: blocks and requests of the past are not those of now."""
    if (why := _why_no_change(app)) is not None:
        return why
    return None if app.clock.live else "this is the past: G goes to where the engine stands"


FORKS: tuple[Action[WorkbenchApp], ...] = (
    Action(
        "fork", ("F",), "Fork the selected request, with one thing changed", "Change", open_fork, "fork",
        why_no_fork,
        "Another token, other settings, another end of the prompt, or a head, an MLP or a layer switched off; it"
        " runs beside its parent. In Tokens it forces the candidate under the cursor.",
    ),
    Action(
        "beside", ("V",), "See a fork and its parent side by side", "Change",
        lambda app: app.open_view("compare"), "", why_no_family, "Opens Compare, aligned by token.",
    ),
    Action(
        "preempt", ("P",), "Preempt the selected request", "Change", preempt, "", why_no_preempt,
        "It gives up its blocks as if another needed them.",
    ),
    Action(
        "evict", ("E",), "Evict the selected block", "Change", ask_evict, "", why_no_evict,
        "Only cached blocks that no request holds.",
    ),
    Action("policy", (), "Admit requests by another policy", "Change", ask_policy, "", _why_no_change),
)  # fmt: skip

__all__ = ["FORKS", "ask_fork", "choices_at", "parent_of"]
