"""`sessions ls`, `sessions show` and `sessions rm`. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.params import EngineOptions
from engine.wording.keeping import OUTPUT_MAY_DIFFER
from sessions.errors import SessionError
from sessions.header import AdapterUsed
from sessions.pack_import import remove_model_files
from sessions.places import SUFFIX, sessions_folder, side_files
from sessions.reader import Session
from workbench.cli.console import print_json, print_pairs, print_table
from workbench.cli.errors import CommandError
from workbench.cli.result import RequestResult, latest_branch, print_requests, read_requests
from workbench.cli.session_names import resolve_session
from workbench.cli.sizes import show_size


class SessionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A session file at a glance; only `name`, `path`, `size_bytes` and `error` where it cannot be read.

    Counts are those of its latest branch, with the history that this continues.
    """

    name: str
    path: str
    size_bytes: int
    error: str | None = None
    created: str | None = None
    model: str | None = None
    branches: int | None = None
    steps: int | None = None
    requests: int | None = None
    output_tokens: int | None = None


class SessionDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A session in full: the summary, how it was run, and its requests."""

    summary: SessionSummary
    model_path: str
    weights_sha256: str
    dtype: str
    num_blocks: int
    kv_bytes_per_token: int
    torch_version: str
    options: EngineOptions
    evictions: int
    preemptions: int
    kv_policy: str
    adapters: tuple[AdapterUsed, ...]
    requests: tuple[RequestResult, ...]


def list_sessions(json: bool) -> None:
    """Every session in the user's folder, a line each."""
    paths = sorted(sessions_folder().glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime, reverse=True)
    summaries = [_try_summary(path) for path in paths]
    if json:
        print_json(summaries)
        return
    head = ("name", "model", "steps", "requests", "tokens", "size", "")
    print_table(head, [_row(summary) for summary in summaries], right=(2, 3, 4, 5))


def show_session(name: str, json: bool) -> None:
    """What one session holds."""
    with Session.open(resolve_session(name)) as session:
        details = _details(session)
    if json:
        print_json(details)
        return
    print_pairs(_pairs(details))
    print()
    print_requests(details.requests)


def remove_sessions(names: Sequence[str], force: bool, json: bool) -> None:
    """Delete sessions; all names are looked up before anything is deleted."""
    paths = [resolve_session(name) for name in names]
    for path in paths:
        _check_removable(path, force)
    for path in paths:
        for file in (path, *side_files(path)):
            file.unlink(missing_ok=True)
        if path.parent == sessions_folder():
            remove_model_files(path)
    if json:
        print_json([str(path) for path in paths])
    else:
        print_table(("deleted",), [(path,) for path in paths])


def _check_removable(path: Path, force: bool) -> None:
    """Raise CommandError for what is no session, and for one that may still be growing."""
    if force:
        return
    Session.open(path).close()
    if any(file.exists() and file.stat().st_size for file in side_files(path)):
        raise CommandError(f"{path}: is still being recorded, or was cut off: delete it with --force")


def _try_summary(path: Path) -> SessionSummary:
    try:
        with Session.open(path) as session:
            return _summary(session)
    except SessionError as error:
        return SessionSummary(name=path.stem, path=str(path), size_bytes=_size(path), error=str(error))


def _summary(session: Session) -> SessionSummary:
    branch = latest_branch(session)
    last = session.step_row(session.last_step(branch), branch)
    return SessionSummary(
        name=session.path.stem,
        path=str(session.path),
        size_bytes=_size(session.path),
        created=session.header.created,
        model=session.header.model_name,
        branches=branch + 1,
        steps=session.last_step(branch),
        requests=session.request_count(branch),
        output_tokens=last.output_tokens if last else 0,
    )


def _details(session: Session) -> SessionDetails:
    header, branch = session.header, latest_branch(session)
    last = session.step_row(session.last_step(branch), branch)
    return SessionDetails(
        summary=_summary(session),
        model_path=header.model_path,
        weights_sha256=header.weights_sha256,
        dtype=header.dtype,
        num_blocks=header.num_blocks,
        kv_bytes_per_token=header.shape.kv_bytes_per_token,
        torch_version=header.torch_version,
        options=header.options,
        evictions=last.evicted_blocks if last else 0,
        preemptions=last.preemptions if last else 0,
        kv_policy=header.kv_policy,
        adapters=header.adapters,
        requests=read_requests(session, branch),
    )


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in (path, *side_files(path)) if file.exists())


def _row(summary: SessionSummary) -> tuple[object, ...]:
    if summary.error is not None:
        return (summary.name, "-", "-", "-", "-", show_size(summary.size_bytes), summary.error)
    return (
        summary.name,
        summary.model,
        summary.steps,
        summary.requests,
        summary.output_tokens,
        show_size(summary.size_bytes),
        "",
    )


def _pairs(details: SessionDetails) -> list[tuple[str, object]]:
    summary, options = details.summary, details.options
    return [
        ("session", summary.path),
        ("recorded", summary.created),
        ("model", f"{summary.model} in {details.dtype}, {details.model_path}"),
        ("weights", f"sha256 {details.weights_sha256}"),
        ("torch", details.torch_version),
        *([("plugins", ", ".join(options.plugins))] if options.plugins else []),
        *([("KV policy", f"{details.kv_policy}: {OUTPUT_MAY_DIFFER}")] if details.kv_policy else []),
        *([("adapters", ", ".join(map(_adapter, details.adapters)))] if details.adapters else []),
        ("KV", f"{details.num_blocks} blocks of {options.block_size} tokens, {_token_bytes(details)}"),
        ("scheduling", f"{options.policy}, {options.token_budget} tokens a step, {options.max_running} at once"),
        *_branches(summary),
        ("steps", summary.steps),
        ("output tokens", summary.output_tokens),
        ("evicted blocks", details.evictions),
        ("preemptions", details.preemptions),
        ("size", show_size(summary.size_bytes)),
    ]


def _adapter(used: AdapterUsed) -> str:
    return f"{used.name}{' (merged)' if used.merged else ''} in {used.folder}"


def _token_bytes(details: SessionDetails) -> str:
    return f"{details.kv_bytes_per_token} bytes a token" if details.kv_bytes_per_token else "bytes unknown"


def _branches(summary: SessionSummary) -> list[tuple[str, object]]:
    """That there are branches, and of which one the rest is told."""
    count = summary.branches or 1
    return [("branches", f"{count}; below is branch {count - 1}, the latest")] if count > 1 else []
