"""Who is asked for drafts before a step, and for how many."""

from __future__ import annotations

from collections.abc import Iterator

from engine.drafts import MOST_DRAFTS, DraftRequest
from engine.request import Request, RequestState
from engine.sampler_rows import seed_of
from engine.state import State
from engine.tokens import TokenLog


def draft_requests(
    state: State, log: TokenLog, budget: int, max_context: int, engine_seed: int
) -> Iterator[DraftRequest]:
    """The requests that will decode next, and may have drafts, by rank."""
    for request in sorted(state.running.values(), key=lambda each: each.rank):
        most = min(_wanted(request), max_context - request.num_tokens - 1, budget - 1, MOST_DRAFTS)
        if most > 0 and _may_draft(request, log):
            seed = seed_of(engine_seed, request.id, request.params)
            yield DraftRequest(
                request.id, log.tokens_of(request.id), request.prompt_tokens, request.params, seed,
                request.sample, most, request.table, request.recent,
            )  # fmt: skip


def _wanted(request: Request) -> int:
    """How many of its drafts could be tokens: one more comes with them."""
    return request.params.max_tokens - request.output_tokens - 1


def _may_draft(request: Request, log: TokenLog) -> bool:
    """Beams are judged together, and stages are scaled in rows of the request's own slots: neither has drafts."""
    decodes = request.state is RequestState.RUNNING and request.pending == 1
    return decodes and request.search is None and log.intervened_of(request.id) is None
