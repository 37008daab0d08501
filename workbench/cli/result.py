"""What a recorded run came to, read back from its session: the JSON of `record`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.sanitise import display_text
from engine.wording import plural
from sessions.reader import Session
from sessions.records import RequestRow
from workbench.cli.console import print_table
from workbench.cli.searches import SearchResult, print_searches, read_searches

TEXT_WIDTH = 48


class RequestResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request, or one of the samples of one; `parent` is what a fork was forked from.

    `dropped` is a beam that its search went on without.
    """

    id: str
    parent: str | None
    prompt_tokens: int
    cached_tokens: int
    preemptions: int
    output_ids: tuple[int, ...]
    text: str
    finish_reason: str | None
    dropped: bool = False


class RecordResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """A whole run: the requests and steps of its latest branch, the speed over all of them."""

    session: str
    steps: int
    tokens_per_s: float
    requests: tuple[RequestResult, ...]
    branch: int = 0
    searches: tuple[SearchResult, ...] = ()


def read_result(path: Path, seconds: float) -> RecordResult:
    """The result of the run recorded at `path`, which took `seconds`."""
    with Session.open(path) as session:
        branch = latest_branch(session)
        speed = round(_generated(session) / seconds, 1) if seconds > 0 else 0.0
        requests, searches = read_requests(session, branch), read_searches(session, branch)
        return RecordResult(str(path), session.last_step(branch), speed, requests, branch, searches)


def latest_branch(session: Session) -> int:
    """The branch that the engine was in at the end: rewinds only ever add one."""
    return max(row.branch for row in session.branches)


def read_requests(session: Session, branch: int) -> tuple[RequestResult, ...]:
    """The results of all requests of `branch` and what it continues, in order of arrival."""
    return tuple(_request(session, row, branch) for row in session.requests(branch))


def print_result(result: RecordResult) -> None:
    """The result for people: a line a request, then where the session is."""
    print_requests(result.requests)
    print_searches(result.searches, {request.id: _shorten(request.text) for request in result.requests})
    branch = f" in branch {result.branch}" if result.branch else ""
    print(f"{result.steps} steps{branch}, {result.tokens_per_s} tokens/s: {display_text(result.session)}")


def print_requests(requests: Sequence[RequestResult]) -> None:
    """A line a request but for dropped beams; where there are forks, with what each was forked from."""
    dropped = sum(request.dropped for request in requests)
    requests = [request for request in requests if not request.dropped]
    parents = ("fork of",) if any(request.parent for request in requests) else ()
    head = ("request", *parents, "prompt", "cached", "out", "preempted", "finish", "text")
    right = [column + len(parents) for column in (1, 2, 3, 4)]
    print_table(head, [_row(request, bool(parents)) for request in requests], right)
    if dropped:
        print(f"and {plural(dropped, 'beam')} that {'was' if dropped == 1 else 'were'} dropped")


def _row(request: RequestResult, parents: bool) -> tuple[object, ...]:
    return (
        request.id,
        *((request.parent or "",) if parents else ()),
        request.prompt_tokens,
        request.cached_tokens,
        len(request.output_ids),
        request.preemptions,
        request.finish_reason or "unfinished",
        _shorten(request.text),
    )


def _generated(session: Session) -> int:
    """Tokens that were chosen, over all branches; what a branch continues counts once."""
    return sum(
        _tokens_by(session, row.branch, session.last_step(row.branch))
        - _tokens_by(session, row.branch, row.parent_step or 0)
        for row in session.branches
    )


def _tokens_by(session: Session, branch: int, step: int) -> int:
    row = session.step_row(step, branch)
    return row.output_tokens if row else 0


def _request(session: Session, row: RequestRow, branch: int) -> RequestResult:
    return RequestResult(
        id=row.request,
        parent=row.parent,
        prompt_tokens=row.prompt_tokens,
        cached_tokens=row.cached_tokens,
        preemptions=row.preemptions,
        output_ids=tuple(token.token for token in session.tokens(row.request, branch)),
        text=row.output_text or "",
        finish_reason=row.finish_reason,
        dropped=row.finish_detail == "beam_dropped",
    )


def _shorten(text: str) -> str:
    shown = display_text(text[: TEXT_WIDTH + 1])
    return shown if len(shown) <= TEXT_WIDTH else shown[: TEXT_WIDTH - 1] + "…"
