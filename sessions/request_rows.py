"""The rows of `requests`, `prompts` and `tokens`: every request from its arrival to its last token."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from engine import events as ev
from engine.details import TokenDetails
from sessions.records import RequestRow, TokenRow, pack_ids
from sessions.rows import Rows
from sessions.vocabulary import Vocabulary

Described = Mapping[tuple[str, int], TokenDetails]  # by request and position


@dataclass(slots=True)
class _Live:
    row: RequestRow
    output_ids: array[int] = field(default_factory=lambda: array("i"))


class RequestRows:
    """Follows live requests; a row of `requests` is written when the request changes state."""

    def __init__(self, rows: Rows, vocabulary: Vocabulary) -> None:
        self._rows = rows
        self._vocabulary = vocabulary
        self._live: dict[str, _Live] = {}

    def see(self, event: ev.Event) -> None:
        if handler := _HANDLERS.get(type(event)):
            handler(self, event)

    def close(self) -> None:
        """Write what unfinished requests have said so far."""
        for live in self._live.values():
            live.row.output_text = self._vocabulary.decode(live.output_ids)
            self._write(live.row)

    def token(self, event: ev.Token, described: Described) -> None:
        """A token was chosen: its row, and the progress of its request."""
        live = self._live[event.request]
        live.output_ids.append(event.token)
        live.row.output_tokens += 1
        if live.row.first_token_step is None:
            live.row.first_token_step = event.step
            self._write(live.row)
        else:
            self._rows.add("progress", (live.row.output_tokens, event.branch, event.request))
        text = self._vocabulary.token_text(event.token)
        about = described.get((event.request, event.position))
        self._rows.add("tokens", _token_row(event, text, about))

    def failed(self, event: ev.StepFailed, batch: tuple[ev.Work, ...]) -> None:
        """Requests of a failed `batch` wait again, but those that the failure ended."""
        for work in batch:
            if work.request not in self._live:
                continue
            row = self._live[work.request].row
            if work.request in event.ended:
                row.finish_reason, row.finish_detail, row.message = "error", "step_failed", event.error
                self._end(row, event)
            else:
                row.state = "WAITING"
                self._write(row)

    def _submitted(self, event: ev.Submitted) -> None:
        row = RequestRow(
            branch=event.branch, request=event.request, arrival=event.arrival, priority=event.priority,
            sample=event.sample, samples=event.samples, leader=event.leader,
            params=msgspec.json.encode(event.params).decode(), prompt_tokens=len(event.prompt_ids),
            output_tokens=0, cached_tokens=0, preemptions=0, state="WAITING", submitted_step=event.step,
        )  # fmt: skip
        self._live[event.request] = _Live(row)
        self._write(row)
        text = self._vocabulary.decode(event.prompt_ids)
        self._rows.add("prompts", (event.branch, event.request, pack_ids(event.prompt_ids), text))

    def _admitted(self, event: ev.Admitted) -> None:
        row = self._live[event.request].row
        row.state = "PREFILLING"
        if row.admitted_step is None:
            row.admitted_step, row.cached_tokens = event.step, event.cached_tokens
        self._write(row)

    def _started(self, event: ev.Started | ev.Shared) -> None:
        row = self._live[event.request].row
        row.state = "RUNNING"
        self._write(row)

    def _preempted(self, event: ev.Preempted) -> None:
        row = self._live[event.request].row
        row.state = "PREEMPTED"
        row.preemptions += 1
        self._write(row)

    def _finished(self, event: ev.Finished) -> None:
        row = self._live[event.request].row
        row.finish_reason, row.finish_detail, row.message = event.reason, event.detail, event.message
        self._end(row, event)

    def _end(self, row: RequestRow, event: ev.Event) -> None:
        row.state, row.finished_step = "FINISHED", event.step
        row.output_text = self._vocabulary.decode(self._live.pop(row.request).output_ids)
        self._write(row)

    def _write(self, row: RequestRow) -> None:
        self._rows.add("requests", msgspec.structs.astuple(row))


def _token_row(event: ev.Token, text: str, about: TokenDetails | None) -> tuple[Any, ...]:
    if about is None:
        return msgspec.structs.astuple(
            TokenRow(
                event.branch, event.request, event.position, event.token, text, event.step, draw=event.draw
            )
        )  # fmt: skip
    low, high = about.interval or (None, None)
    row = TokenRow(
        event.branch, event.request, event.position, event.token, text, event.step, None, about.raw_logprob,
        about.processed_logprob, about.rank, about.entropy, about.varentropy, event.draw, low, high,
        about.margin, about.near_tie, signed(about.logits_hash),
    )  # fmt: skip
    return msgspec.structs.astuple(row)


def signed(hash_: int) -> int:
    """An unsigned 64-bit hash as the signed integer with the same bits, which is what SQLite stores."""
    return hash_ - (1 << 64) if hash_ >= 1 << 63 else hash_


_HANDLERS: Final[Mapping[type[ev.Event], Callable[[RequestRows, Any], None]]] = {
    ev.Submitted: RequestRows._submitted,
    ev.Admitted: RequestRows._admitted,
    ev.Started: RequestRows._started,
    ev.Shared: RequestRows._started,
    ev.Preempted: RequestRows._preempted,
    ev.Finished: RequestRows._finished,
}
