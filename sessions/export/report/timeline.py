"""The steps of a report: what each computed, what it left behind, and what was decided in it."""

from __future__ import annotations

from typing import Any, Final

from engine import events as ev
from engine.sanitise import display_text
from engine.wording import sentence
from sessions.export.excerpt import Excerpt
from sessions.export.report.texts import Texts
from sessions.records import StepRow

COLUMNS: Final = (
    "step", "branch", "tokens", "prefill_tokens", "decode_tokens", "budget", "running", "waiting", "preempted",
    "free_blocks", "cached_blocks", "owned_blocks", "looked_up_tokens", "hit_tokens", "evicted_blocks",
    "preemptions", "output_tokens", "total_ns", "forward_ns", "notable",
)  # fmt: skip


def steps_part(excerpt: Excerpt) -> dict[str, Any]:
    """Columns over the steps; `batch` has `[request, phase, start, tokens]` for each request of a step."""
    rows = list(excerpt.step_rows())
    columns: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in COLUMNS}
    columns["batch"] = [[list(_work(work)) for work in row.works] for row in rows]
    columns["error"] = [_error(row) for row in rows]
    return columns


def decisions_part(excerpt: Excerpt, texts: Texts) -> list[tuple[int, str | None, str, str]]:
    """What was decided or refused: step, request, code, and the sentence that says it."""
    event = "(SELECT data FROM events WHERE events.seq = decisions.seq)"
    wanted = excerpt.rows_of_steps("decisions", "request")
    rows = excerpt.select(f"SELECT step, request, code, {event} {wanted} ORDER BY seq")
    return [(step, request, code, sentence(ev.decode(line), texts.shown)) for step, request, code, line in rows]


def _work(work: Any) -> tuple[Any, ...]:
    return work.request, work.phase, work.start, work.tokens


def _error(row: StepRow) -> str | None:
    return None if row.error is None else display_text(row.error)
