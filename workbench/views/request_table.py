"""RequestTable: the requests of a moment as rows: state, progress, prefix hit, blocks, last tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from engine.state import Request, RequestState
from sessions.records import RequestRow
from workbench.bench import Scene
from workbench.families import Families
from workbench.known_requests import Rows
from workbench.moment import Moment
from workbench.views.fork_text import change_of
from workbench.widgets.cells import cell_len
from workbench.widgets.columns import Column, place
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Bar, Line, Span
from workbench.widgets.table import MARK_WIDTH

TAIL_TOKENS = 24
INKS: dict[RequestState, Ink] = {
    RequestState.WAITING: "waiting",
    RequestState.PREFILLING: "prefill",
    RequestState.RUNNING: "decode",
    RequestState.PREEMPTED: "preempted",
    RequestState.FINISHED: "finished",
}
COLUMNS = (
    Column("req", 5, "right"),
    Column("state", 10),
    Column("prompt", 6, "right", 3),
    Column("out", 4, "right"),
    Column("hit", 4, "right", 1),
    Column("blk", 4, "right", 2),
    Column("progress", 8, priority=5),
    Column("last tokens", least=10, priority=4),
)
NONE = Span("–", "faint")


class RequestTable:
    """Live requests by arrival, then ended ones, the latest first; forks stand under their parents."""

    columns: Sequence[Column] = COLUMNS

    def __init__(self, scene: Scene, width: int = 80) -> None:
        """`width` is the cells of the table; the tails of the texts are cut to what their column gets."""
        last = len(COLUMNS) - 1
        self._tail_cells = next((c.width for c in place(COLUMNS, width - MARK_WIDTH) if c.index == last), 0)
        self._record = scene.record
        self._moment = scene.moment
        self._corner = scene.glyphs.tree_corner[0]
        self.requests = _families_of(scene.moment)
        self.row = lru_cache(maxsize=256)(self._row)  # type: ignore[method-assign]

    def __len__(self) -> int:
        return len(self.requests)

    def row(self, index: int) -> Sequence[Line]:
        return self._row(index)

    def changed(self, index: int) -> bool:
        return self.requests[index].request in self._moment.changes.moved

    def index_of(self, request: str | None) -> int | None:
        """The row of a request."""
        if not isinstance(self.requests, Families):
            return self._moment.index_of(request)
        row = None if request is None else self._record.request(request)
        return None if row is None else self.requests.index_of(row.arrival)

    def _row(self, index: int) -> Sequence[Line]:
        row = self.requests[index]
        live = self._moment.live_request(row.request)
        return self._live(live, row) if live else self._ended(row)

    def _live(self, live: Request, row: RequestRow) -> Sequence[Line]:
        ink = INKS[live.state]
        has_blocks = bool(live.table)
        admitted = row.admitted_step is not None and row.admitted_step <= self._moment.step
        return (
            self._name(row),
            Span(live.state, ink),
            str(live.prompt_tokens),
            str(live.output_tokens) if live.output_tokens else NONE,
            str(row.cached_tokens) if admitted and row.cached_tokens else NONE,
            str(len(live.held_blocks)) if has_blocks else NONE,
            Bar(_progress(live), ink),
            self._tail(row, live.num_tokens, score=live.score if live.search and live.output_tokens else None),
        )

    def _name(self, row: RequestRow, ink: Ink = "text") -> Line:
        """The id; that of a fork hangs from its parent's."""
        return [Span(self._corner if row.parent is not None else "", "faint"), Span(row.request, ink)]

    def _ended(self, row: RequestRow) -> Sequence[Line]:
        bad = row.finish_reason in ("error", "abort")
        return (
            self._name(row, "dim"),
            Span(_ending(row), "bad" if bad else "finished"),
            Span(str(row.prompt_tokens), "dim"),
            Span(str(row.output_tokens), "dim"),
            Span(str(row.cached_tokens), "dim") if row.cached_tokens else NONE,
            NONE,
            Span(f"step {row.finished_step}", "dim"),
            self._tail(row, row.prompt_tokens + row.output_tokens, "dim"),
        )

    def _tail(self, row: RequestRow, count: int, ink: Ink = "text", score: float | None = None) -> Line:
        """The last tokens; before those of a fork, where it forks and what it changed, of a beam its score."""
        request = row.request
        ids = self._record.token_ids(request)
        new = self._moment.changes.new_tokens.get(request, ())
        positions = range(max(0, count - TAIL_TOKENS), min(count, len(ids)))
        spans = [
            Span(self._record.token_text(ids[position]), "changed" if position in new else ink)
            for position in positions
        ]
        where = "" if score is None else f"{score:.2f} "
        where += "" if row.parent is None else f"at {row.at_position} {change_of(self._record, row)} "
        if not where:
            return _last_cells(spans, self._tail_cells)
        origin = Span(where, "accent")
        return [origin, *_last_cells(spans, max(0, self._tail_cells - cell_len(origin.text)))]


def _families_of(moment: Moment) -> Rows:
    """The requests of a moment; where there are forks, each under its parent."""
    count = len(moment.arrived)
    parents = {fork: parent for fork, parent in moment.record.requests().parents().items() if fork < count}
    if not parents:
        return moment.requests
    live = sorted(request.arrival for request in moment.state.requests.values())
    return Families(moment.arrived, live, parents)


def _progress(live: Request) -> float:
    """How much of the prompt is computed while it is prefilled, how much of the output is there afterwards."""
    if live.state is RequestState.RUNNING:
        return live.output_tokens / live.params.max_tokens
    return live.computed / live.num_tokens


def _ending(row: RequestRow) -> str:
    """How it ended, in a word."""
    return "DROPPED" if row.finish_detail == "beam_dropped" else (row.finish_reason or "ended").upper()


def _last_cells(spans: list[Span], cells: int) -> list[Span]:
    """The end of a line, in at most so many cells."""
    kept: list[Span] = []
    for span in reversed(spans):
        room = cells - sum(cell_len(each.text) for each in kept)
        if cell_len(span.text) > room:
            text = span.text
            while text and cell_len(text) > room:
                text = text[1:]
            return [Span(text, span.ink), *kept]
        kept.insert(0, span)
    return kept


__all__ = ["INKS", "RequestTable"]
