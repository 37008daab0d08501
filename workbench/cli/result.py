"""What a recorded run came to, read back from its session: the JSON of `record`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.sanitise import display_text
from sessions.reader import Session
from sessions.records import RequestRow
from workbench.cli.console import print_table

TEXT_WIDTH = 48


class RequestResult(msgspec.Struct, frozen=True):
    """One request, or one of the samples of one."""

    id: str
    parent: str | None
    prompt_tokens: int
    cached_tokens: int
    preemptions: int
    output_ids: tuple[int, ...]
    text: str
    finish_reason: str | None


class RecordResult(msgspec.Struct, frozen=True):
    """A whole run."""

    session: str
    steps: int
    tokens_per_s: float
    requests: tuple[RequestResult, ...]


def read_result(path: Path, seconds: float) -> RecordResult:
    """The result of the run recorded at `path`, which took `seconds`."""
    with Session.open(path) as session:
        requests = read_requests(session)
        generated = sum(len(request.output_ids) for request in requests)
        speed = round(generated / seconds, 1) if seconds > 0 else 0.0
        return RecordResult(str(path), session.last_step(), speed, requests)


def read_requests(session: Session) -> tuple[RequestResult, ...]:
    """The results of all requests, in order of arrival."""
    return tuple(_request(session, row) for row in session.requests())


def print_result(result: RecordResult) -> None:
    """The result for people: a line a request, then where the session is."""
    print_requests(result.requests)
    print(f"{result.steps} steps, {result.tokens_per_s} tokens/s: {display_text(result.session)}")


def print_requests(requests: Sequence[RequestResult]) -> None:
    """A line a request."""
    head = ("request", "prompt", "cached", "out", "preempted", "finish", "text")
    print_table(head, [_row(request) for request in requests], right=(1, 2, 3, 4))


def _row(request: RequestResult) -> tuple[object, ...]:
    return (
        request.id,
        request.prompt_tokens,
        request.cached_tokens,
        len(request.output_ids),
        request.preemptions,
        request.finish_reason or "unfinished",
        _shorten(request.text),
    )


def _request(session: Session, row: RequestRow) -> RequestResult:
    return RequestResult(
        id=row.request,
        parent=None,
        prompt_tokens=row.prompt_tokens,
        cached_tokens=row.cached_tokens,
        preemptions=row.preemptions,
        output_ids=tuple(token.token for token in session.tokens(row.request)),
        text=row.output_text or "",
        finish_reason=row.finish_reason,
    )


def _shorten(text: str) -> str:
    shown = display_text(text[: TEXT_WIDTH + 1])
    return shown if len(shown) <= TEXT_WIDTH else shown[: TEXT_WIDTH - 1] + "…"
