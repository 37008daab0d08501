"""`explain`: why requests waited, missed and were preempted, and what other options would change. No torch."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import msgspec

from engine.sanitise import display_text
from engine.wording import TokenText
from sessions.explain import Run, explain_requests, explain_run
from sessions.explain_facts import Life, RunTotals
from sessions.explain_words import told, told_run
from sessions.reader import Session
from sessions.simulate_compare import WhatIf, biggest_changes, what_if
from sessions.simulate_options import WhatIfError, setting_of
from sessions.simulate_words import ARROW, change_table, notes, table, verdict_words
from workbench.cli.console import print_json, print_table
from workbench.cli.errors import DONE, FAILED, CommandError
from workbench.cli.progress import progress_bar
from workbench.cli.session_names import resolve_session

MOST_CHANGES = 5
MOST_WIDTH = 100


def explain_session(name: str, requests: Sequence[str], branch: int, asked: Sequence[str], json: bool) -> int:
    """Explain requests, or all of them and the run; the exit code, 1 when a simulation is not to be trusted.

    `asked` are changed options: then the table of what they would have changed is the answer.
    """
    with Session.open(resolve_session(name)) as session:
        _check(session, asked)
        if requests and not asked:
            with progress_bar("reading", "events") as progress:
                lives = explain_requests(session, requests, branch, progress)
            _tell(session, lives, None, json)
            return DONE
        with progress_bar("reading", "events") as progress:
            run = explain_run(session, branch, progress)
        if not asked:
            _tell(session, run.lives, run.totals, json)
            return DONE
        return _compare(session, run, requests, branch, asked, json)


def _check(session: Session, asked: Sequence[str]) -> None:
    """What cannot be asked is refused before a long session is read."""
    try:
        for text in asked:
            setting_of(text, session.header)
    except WhatIfError as error:
        raise CommandError(str(error)) from error


def _text(session: Session) -> TokenText:
    return lambda token: display_text(session.token_text(token))


# -- what happened -------------------------------------------------------------------------------------


def _tell(session: Session, lives: Sequence[Life], totals: RunTotals | None, json: bool) -> None:
    text = _text(session)
    if json:
        print_json(
            {
                "session": str(session.path),
                "requests": [_life(life, text) for life in lives],
                "totals": None if totals is None else _totals(totals),
            }
        )
        return
    for life in lives:
        _print_wrapped(told(life, text))
        print()
    if totals is not None:
        print("\n".join(told_run(totals)))


def _life(life: Life, text: TokenText) -> dict[str, Any]:
    """A life as JSON: its facts, what they add up to, and the sentences made of them."""
    facts: dict[str, Any] = msgspec.to_builtins(life)
    sums = {"waited_steps": life.waited_steps, "cached_tokens": life.cached_tokens}
    return facts | sums | {"sentences": told(life, text)}


def _totals(totals: RunTotals) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.to_builtins(totals)
    return facts | {"hit_rate": totals.first_look.rate, "sentences": told_run(totals)}


def _print_wrapped(sentences: Sequence[str]) -> None:
    """A paragraph as wide as the terminal; one line a sentence where there is none."""
    if not sys.stdout.isatty():
        print("\n".join(sentences))
        return
    width = min(MOST_WIDTH, shutil.get_terminal_size().columns)
    print(textwrap.fill(" ".join(sentences), width, break_long_words=False, break_on_hyphens=False))


# -- what if -------------------------------------------------------------------------------------------


def _compare(
    session: Session, run: Run, requests: Sequence[str], branch: int, asked: Sequence[str], json: bool
) -> int:
    _check_requests(session, run, requests)
    with progress_bar("simulating", "steps") as progress:
        result = what_if(session, asked, run, branch, progress)
    if json:
        print_json(_what_if(session, result))
    else:
        _print_what_if(session, result, requests)
    return DONE if result.verdict.difference is None else FAILED


def _check_requests(session: Session, run: Run, requests: Sequence[str]) -> None:
    known = {life.request for life in run.lives}
    for request in requests:
        if request not in known:
            raise CommandError(f"{session.path} has no request {request}: `workbench sessions show` lists them")


def _what_if(session: Session, result: WhatIf) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.to_builtins(result)
    for column in (facts["before"], *facts["after"]):
        look = column["totals"]["first_look"]
        column["hit_rate"] = look["hit_tokens"] / look["looked_up_tokens"] if look["looked_up_tokens"] else None
    facts["verdict"]["reproduced"] = result.verdict.reproduced
    said = [verdict_words(result.verdict, _text(session)), *notes(result)]
    return {"session": str(session.path), **facts, "sentences": said}


def _print_what_if(session: Session, result: WhatIf, requests: Sequence[str]) -> None:
    print(verdict_words(result.verdict, _text(session)))
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
        return f"{name}: nothing changes for any request that does the same work"
    return f"{name}: recorded{ARROW}simulated" + ("" if wanted else ", where most changes")
