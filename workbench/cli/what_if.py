"""`explain --what-if`: a record under other options, as a table beside what it was. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sessions.explain import Run, explain_run, harmless_text
from sessions.reader import Session
from sessions.simulate_compare import WhatIf, biggest_changes, check_simulated, what_if
from sessions.simulate_options import WhatIfError, setting_of
from sessions.simulate_words import ARROW, change_table, notes, table, verdict_words
from workbench.cli.console import print_json, print_table
from workbench.cli.errors import DONE, FAILED, CommandError
from workbench.cli.progress import progress_bar

MOST_CHANGES = 5


def explain_changes(
    session: Session, requests: Sequence[str], branch: int, asked: Sequence[str], json: bool
) -> int:
    """Simulate the session under each of `asked`; the exit code, 1 when the simulation is not to be trusted."""
    _check(session, asked, branch)
    with progress_bar("reading", "events") as progress:
        run = explain_run(session, branch, progress)
    _check_requests(session, run, requests)
    with progress_bar("simulating", "steps") as progress:
        result = what_if(session, asked, run, branch, progress)
    if json:
        print_json(_as_json(session, branch, result))
    else:
        _print(session, result, requests)
    return DONE if result.verdict.difference is None else FAILED


def _check(session: Session, asked: Sequence[str], branch: int) -> None:
    """What cannot be asked is refused before a long session is read."""
    try:
        for text in asked:
            setting_of(text, session.header)
        check_simulated(session, branch)
    except WhatIfError as error:
        raise CommandError(str(error)) from error


def _check_requests(session: Session, run: Run, requests: Sequence[str]) -> None:
    known = {life.request for life in run.lives}
    for request in requests:
        if request not in known:
            raise CommandError(f"{session.path} has no request {request}: `workbench sessions show` lists them")


def _as_json(session: Session, branch: int, result: WhatIf) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.to_builtins(result)
    for column in (facts["before"], *facts["after"]):
        look = column["totals"]["first_look"]
        column["hit_rate"] = look["hit_tokens"] / look["looked_up_tokens"] if look["looked_up_tokens"] else None
    facts["verdict"]["reproduced"] = result.verdict.reproduced
    said = [verdict_words(result.verdict, harmless_text(session)), *notes(result)]
    return {"session": str(session.path), "branch": branch, **facts, "sentences": said}


def _print(session: Session, result: WhatIf, requests: Sequence[str]) -> None:
    print(verdict_words(result.verdict, harmless_text(session)))
    print()
    head, *rows = table(result)
    print_table(head, rows, right=range(1, len(head)))
    for column in result.after:
        changes = biggest_changes(result.before, column, MOST_CHANGES, requests)
        print()
        print(_title(column.name, bool(changes), bool(requests)))
        if changes:
            first, *others = change_table(changes)
            print_table(first, others, right=range(1, len(first)))
    print()
    print("\n".join(notes(result)))


def _title(name: str, changed: bool, wanted: bool) -> str:
    if not changed:
        return f"{name}: no request that does the same work in both fares differently"
    return f"{name}: recorded{ARROW}simulated" + ("" if wanted else ", where most changes")
