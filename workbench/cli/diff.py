"""`diff`: two sessions that should agree, or one against transformers. Imports torch for the stages only."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from sessions.diff_compare import compare_pair
from sessions.diff_pairs import Pairs, pair_up, parse_pairs
from sessions.diff_plans import given_by_fork
from sessions.diff_result import DiffResult, PairDifference, Rerun, StageSearch
from sessions.diff_side import Side
from sessions.diff_words import REFERENCE
from sessions.reader import Session
from workbench.cli.console import print_json
from workbench.cli.diff_print import print_diff
from workbench.cli.errors import DONE, FAILED, CommandError
from workbench.cli.model_finder import resolve_model
from workbench.cli.progress import progress_bar, told_progress
from workbench.cli.session_names import resolve_session
from workbench.cli.torch_threads import wait_passively
from workbench.model_behind import ModelMissingError

if TYPE_CHECKING:
    from workbench.cli.diff_models import Models
    from workbench.cli.diff_reference import Transformers


MOST_NAMED = 8  # of the requests that --at could have meant
MOST_DIGITS = 9  # of a position


@dataclass(frozen=True, slots=True)
class DiffOrder:
    """What to compare: A with `b` or `reference`. `at` asks for the stages of one choice, `REQUEST:POSITION`."""

    a: str
    b: str | None = None
    reference: str | None = None
    pairs: Sequence[str] = field(default=())
    model: str | None = None
    stages: bool = True
    at: str | None = None
    progress: bool = False
    logits: bool = False


def diff_sessions(order: DiffOrder, json: bool) -> int:
    """Compare, print, and return the exit code: 1 where the runs differ."""
    if (order.b is None) == (order.reference is None):
        raise CommandError("diff compares two sessions, or one with --reference transformers: give one of both")
    if order.reference is not None and order.logits:
        raise CommandError("--logits runs two sessions again: the reference works whole logits out anyway")
    if order.reference is not None and order.pairs:
        raise CommandError("--pair names requests of two sessions: the reference is given those of A")
    with ExitStack() as stack:
        a = stack.enter_context(Session.open(resolve_session(order.a)))
        b = None if order.b is None else stack.enter_context(Session.open(resolve_session(order.b)))
        _check_readable(a, b)
        result = _with_reference(Side(a), order) if b is None else _of_sessions(Side(a), Side(b), order, stack)
    print_json(result) if json else print_diff(result)
    return DONE if result.identical else FAILED


def _check_readable(a: Session, b: Session | None) -> None:
    """Raise CommandError where token ids are pseudonyms: they mean something within their own session only."""
    hidden = next((session for session in (a, b) if session is not None and session.redacted), None)
    if hidden is not None and (b is None or a.path.resolve() != b.path.resolve()):
        raise CommandError(f"{hidden.path}: its text was taken out, and token ids with it: compare the original")


def _of_sessions(a: Side, b: Side, order: DiffOrder, files: ExitStack) -> DiffResult:
    pairs = parse_pairs(a, b, order.pairs) if order.pairs else pair_up(a, b)
    if not pairs.both:
        raise CommandError(
            f"{order.a} and {order.b} have no request with the same prompt: name two with --pair A:B"
        )
    reruns = _run_again(a, b, order, files) if order.logits else None
    with told_progress("comparing", "requests", lines=order.progress) as progress:
        found = []
        for done, (one, other) in enumerate(pairs.both, 1):
            found.append(compare_pair(a, b, one, other))
            progress(done, len(pairs.both))
    at = _at(order, a, found)
    searched = _search(a, b, order, at) if order.stages and at is not None else None
    result = _result(str(a.session.path), str(b.session.path), a, pairs, found, searched)
    return msgspec.structs.replace(result, reruns=reruns)


def _run_again(a: Side, b: Side, order: DiffOrder, files: ExitStack) -> tuple[Rerun, Rerun]:
    wait_passively()
    from workbench.cli.diff_logits import run_again

    try:
        with told_progress("running again", "steps", lines=order.progress) as progress:
            return run_again((a, b), _models(order, a, b), files, progress)
    except ModelMissingError as error:
        raise CommandError(f"--logits runs both again: {error}: name its folder with --model") from error


def _search(a: Side, b: Side, order: DiffOrder, at: tuple[PairDifference, int]) -> StageSearch:
    pair, position = at
    names = (pair.a, pair.b)
    wait_passively()
    models = _models(order, a, b)
    if (why_not := _why_no_search(a, b, pair, position)) is not None:
        return StageSearch(*names, why_not=why_not)
    try:
        with told_progress(
            "loading both models and running them again", "passes", lines=order.progress
        ) as progress:
            from workbench.cli.diff_stages import search_runs  # takes seconds

            return search_runs(a, b, names, position, models, progress)
    except ModelMissingError as error:
        return StageSearch(*names, why_not=f"the stages cannot be compared: {error}")


def _why_no_search(a: Side, b: Side, pair: PairDifference, position: int) -> str | None:
    """Why there is no row whose stages could be compared."""
    if a.session.redacted:
        return "the text of the session was taken out, and token ids with it: there is nothing to run again"
    ids_a, ids_b = a.ids(pair.a)[:position], b.ids(pair.b)[:position]
    if list(ids_a) != list(ids_b):
        return f"the tokens before position {position} differ: there is nothing to compare stage by stage"
    if a.token(pair.a, position) is None or b.token(pair.b, position) is None:
        return f"not both runs chose a token at position {position}: there is no row to compare"
    return _why_not_chosen(a, pair.a, position) or _why_not_chosen(b, pair.b, position)


def _why_not_chosen(side: Side, request: str, position: int) -> str | None:
    fork = given_by_fork(side.session, request, position, side.branch)
    if fork is None:
        return None
    return (
        f"the token at position {position} of request {request} was set when {fork.request} forked from"
        f" {fork.parent}: no stage chose it"
    )


def _with_reference(a: Side, order: DiffOrder) -> DiffResult:
    if order.reference != REFERENCE:
        raise CommandError(f"--reference is {order.reference!r}: only transformers is known")
    if adapters := ", ".join(used.name for used in a.session.header.adapters):
        raise CommandError(
            f"{order.a} ran with adapters ({adapters}), and the reference has none: compare it with a run without"
        )
    wait_passively()
    from workbench.cli.diff_reference import Transformers

    other = Transformers(a, _models(order, a))
    requests = [row.request for row in a.requests() if row.output_tokens]
    if not requests:
        raise CommandError(f"{order.a}: no request has chosen a token: there is nothing to compare")
    try:
        found = []
        with progress_bar("comparing with transformers", "requests") as progress:
            for done, request in enumerate(requests, 1):
                found.append(other.compare(request))
                progress(done, len(requests))
        at = _at(order, a, found)
        searched = _search_reference(a, other, at) if order.stages and at is not None else None
    except ModelMissingError as error:
        raise CommandError(f"{order.a}: {error}: name its folder with --model") from error
    return _result(str(a.session.path), REFERENCE, a, Pairs([]), found, searched)


def _search_reference(a: Side, other: Transformers, at: tuple[PairDifference, int]) -> StageSearch:
    from workbench.cli.diff_stages import search_reference

    with progress_bar("building the run again", "passes") as progress:
        return search_reference(a, at[0].a, at[1], other, progress)


def _at(order: DiffOrder, a: Side, found: Sequence[PairDifference]) -> tuple[PairDifference, int] | None:
    """Whose stages to search: what was asked for, or the first differing token of the run."""
    if order.at is not None:
        return _asked_for(order.at, a, found)
    first = _first_pair(a, found)
    return None if first is None or first.first is None else (first, first.first.position)


def _asked_for(at: str, a: Side, found: Sequence[PairDifference]) -> tuple[PairDifference, int]:
    request, _, position = at.partition(":")
    if not (position.isascii() and position.isdecimal()) or len(position) > MOST_DIGITS:
        raise CommandError(f"--at is {at!r}: write a request of A and a position, as in 3:161")
    pair = next((pair for pair in found if pair.a == request), None)
    if pair is None:
        compared = ", ".join(pair.a for pair in found[:MOST_NAMED]) + (" …" if len(found) > MOST_NAMED else "")
        raise CommandError(f"--at is {at!r}: the requests of A that are compared are {compared}")
    first, last = a.prompt_tokens(request), len(a.ids(request)) - 1
    if not first <= int(position) <= last:
        chose = f"chose tokens at positions {first} to {last}" if first <= last else "chose no token"
        raise CommandError(f"--at is {at!r}: request {request} of A {chose}")
    return pair, int(position)


def _first_pair(a: Side, found: Sequence[PairDifference]) -> PairDifference | None:
    """The pair whose tokens part first, in the time of run A."""

    def when(pair: PairDifference) -> tuple[int, int]:
        assert pair.first is not None
        row = a.token(pair.a, pair.first.position)
        return (row.chosen_step if row is not None else a.session.last_step(a.branch) + 1, pair.first.position)

    return min((pair for pair in found if pair.first is not None), key=when, default=None)


def _result(
    name_a: str, name_b: str, a: Side, pairs: Pairs, found: Sequence[PairDifference], searched: StageSearch | None
) -> DiffResult:
    first = _first_pair(a, found)
    return DiffResult(
        identical=first is None and not pairs.only_a and not pairs.only_b,
        first_token=None if first is None else first.first,
        first_stage=searched.divergence.first if searched and searched.divergence else None,
        a=name_a, b=name_b, pairs=found, only_a=pairs.only_a, only_b=pairs.only_b, search=searched,
    )  # fmt: skip


def _models(order: DiffOrder, *sides: Side) -> Models:
    from workbench.cli.diff_models import Models

    models = Models(None if order.model is None else resolve_model(order.model))
    models.check_given([side.session.header for side in sides])
    return models
