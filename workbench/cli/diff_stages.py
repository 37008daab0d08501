"""The search for the first differing stage, behind `diff`: both runs built again. Imports torch."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from engine.divergence import search
from engine.divergence_reference import ReferenceRun
from engine.divergence_result import Divergence, FirstStage
from sessions.diff_result import StageSearch
from sessions.diff_side import Side
from sessions.diff_words import REFERENCE
from workbench.cli.diff_models import Models, rebuild
from workbench.cli.diff_reference import Transformers

if TYPE_CHECKING:
    from engine.divergence import Source
    from engine.divergence_rebuild import Rebuilt, Told


THINNED: Final = "a KV policy had dropped blocks by then, so that the row was computed from fewer keys"


def search_runs(
    a: Side, b: Side, pair: tuple[str, str], position: int, models: Models, told: Told
) -> StageSearch:
    """Search the row that chose the token at `position` of a pair, in two sessions."""
    run_a, about_a = rebuild(a, pair[0], position - 1, models, told)
    run_b, about_b = rebuild(b, pair[1], position - 1, models, told)
    if (why_not := _why_not(run_a, run_b)) is not None:
        return StageSearch(*pair, why_not=why_not)
    found = _with_owner(search(run_a, run_b), {"a": run_a, "b": run_b})
    return StageSearch(*pair, found, about_a, about_b)


def search_reference(a: Side, request: str, position: int, other: Transformers, told: Told) -> StageSearch:
    """The same against transformers: it is run A of the search, ours is run B."""
    run, about = rebuild(a, request, position - 1, other.models, told)
    if run.thinned:
        return StageSearch(request, REFERENCE, why_not=THINNED)
    source: Source = ReferenceRun(other.model, a.ids(request)[:position])
    found = _with_owner(search(source, run), {"b": run})
    return StageSearch(request, REFERENCE, found, about)


def _why_not(a: Rebuilt, b: Rebuilt) -> str | None:
    """Why the stages of two models cannot be compared one by one."""
    if a.thinned or b.thinned:
        return THINNED
    one, other = a.decoder.config, b.decoder.config
    for name in ("layers", "hidden_size", "heads", "kv_heads", "head_dim", "intermediate_size", "vocab_size"):
        if getattr(one, name) != getattr(other, name):
            return f"the models differ in {name}: {getattr(one, name)} and {getattr(other, name)}"
    return None


def _with_owner(found: Divergence, runs: dict[str, Rebuilt]) -> Divergence:
    """Say of a stale slot who had written it."""
    first = found.first
    if first is None or first.run is None or first.run not in runs:
        return found
    note = _owner(first, runs[first.run])
    return msgspec.structs.replace(found, first=msgspec.structs.replace(first, note=note))


def _owner(first: FirstStage, run: Rebuilt) -> str:
    with suppress(LookupError):
        written = run.written(first.position)
        if written is not None and (written.request, written.position) != (run.request, first.position):
            return f"its slot was last written by request {written.request}, for position {written.position}"
    return ""
