"""The requests of a report: prompt and output as tokens, and what is known of each generated one."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from engine.sanitise import display_text
from sessions.export.excerpt import Excerpt
from sessions.export.report.packing import number, pack
from sessions.export.report.texts import Texts
from sessions.records import RequestRow, TokenRow

COLUMNS: Final = (
    "position", "token", "chosen_step", "computed_step", "raw_logprob", "logprob", "rank", "entropy",
    "varentropy", "draw", "low", "high", "margin", "near_tie",
)  # fmt: skip
_FACTS: Final = (
    "request", "branch", "arrival", "priority", "sample", "samples", "prompt_tokens", "output_tokens",
    "cached_tokens", "preemptions", "state", "submitted_step", "admitted_step", "first_token_step",
    "finished_step", "finish_reason", "finish_detail", "parent", "at_position",
)  # fmt: skip


def requests_part(excerpt: Excerpt, texts: Texts) -> list[dict[str, Any]]:
    """All requests of the excerpt, by arrival."""
    return [_request(excerpt, row, texts) for row in excerpt.requests]


def _request(excerpt: Excerpt, row: RequestRow, texts: Texts) -> dict[str, Any]:
    tokens = excerpt.tokens(row.request)
    ids = [*excerpt.prompt_ids(row), *(each.token for each in tokens)]
    facts = {name: getattr(row, name) for name in _FACTS}
    return facts | {
        "message": display_text(row.message),
        "params": msgspec.json.decode(row.params),
        "appended": 0 if row.forked is None else len(row.forked.appended),
        "tokens": pack(texts.numbers(ids)),
        "output": pack({name: [_cell(each, name) for each in tokens] for name in COLUMNS}),
        "phases": pack([
            [each.phase, each.first_step, each.last_step, each.tokens, each.cached_tokens]
            for each in excerpt.phases(row.request)
        ]),
    }  # fmt: skip


def _cell(row: TokenRow, name: str) -> Any:
    value = getattr(row, name)
    return number(value) if isinstance(value, float) else value
