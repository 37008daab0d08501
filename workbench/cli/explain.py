"""`explain`: why requests waited, missed and were preempted, and what other options would change. No torch."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import msgspec

from engine.wording import TokenText
from sessions.explain import explain_requests, explain_run, harmless_text
from sessions.explain_facts import Life, RunTotals
from sessions.explain_words import told, told_run
from sessions.reader import Session
from workbench.cli.console import print_json, say
from workbench.cli.errors import DONE
from workbench.cli.progress import progress_bar
from workbench.cli.session_names import resolve_session

MOST_WIDTH = 100


def explain_session(
    name: str, requests: Sequence[str], branch: int | None, asked: Sequence[str], json: bool
) -> int:
    """Explain requests, or all of them and the run; the exit code, 1 when a simulation is not to be trusted.

    `asked` are changed options: then the table of what they would have changed is the answer. Without a `branch`
    it is the latest.
    """
    with Session.open(resolve_session(name)) as session:
        latest = max(row.branch for row in session.branches)
        branch = latest if branch is None else branch
        if latest:
            say(f"branch {branch} of 0 to {latest}, and the history it continues")
        if asked:
            from workbench.cli.what_if import explain_changes

            return explain_changes(session, requests, branch, asked, json)
        with progress_bar("reading", "events") as progress:
            if requests:
                _tell(session, branch, explain_requests(session, requests, branch, progress), None, json)
            else:
                run = explain_run(session, branch, progress)
                _tell(session, branch, run.lives, run.totals, json)
    return DONE


def _tell(session: Session, branch: int, lives: Sequence[Life], totals: RunTotals | None, json: bool) -> None:
    text = harmless_text(session)
    if json:
        print_json(
            {
                "session": str(session.path),
                "branch": branch,
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
