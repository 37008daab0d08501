"""The rows of `requests`, `prompts` and `tokens`: every request from its arrival to its last token."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from engine import events as ev
from engine.details import TokenDetails
from engine.state import State
from sessions.records import ForkChange, RequestRow, TokenRow, pack_ids
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

    def forked(self, event: ev.Forked, tokens: Sequence[int], branches: Sequence[int]) -> None:
        """A fork arrived, with `tokens`; one of `branches`, which lead here, has the rows of its parent."""
        prompt, outputs = tokens[: event.prompt_tokens], tokens[event.prompt_tokens :]
        change = ForkChange(event.changed, event.appended, event.intervened)
        row = RequestRow(
            branch=event.branch, request=event.request, arrival=event.arrival, priority=event.priority,
            sample=event.sample, samples=1, leader=None, params=msgspec.json.encode(event.params).decode(),
            prompt_tokens=event.prompt_tokens, output_tokens=len(outputs), cached_tokens=0, preemptions=0,
            state="WAITING", submitted_step=event.step, parent=event.parent, at_position=event.at_position,
            change=msgspec.json.encode(change).decode(),
        )  # fmt: skip
        self._live[event.request] = _Live(row, array("i", outputs))
        self._write(row)
        ids = tuple(prompt)
        self._rows.add("prompts", (event.branch, event.request, pack_ids(ids), self._vocabulary.decode(ids)))
        homes, parent = msgspec.json.encode(branches).decode(), event.parent
        self._rows.add("inherited", (event.branch, event.request, parent, event.at_position, parent, homes))
        for position in range(max(event.at_position, event.prompt_tokens), len(tokens)):
            forced = ev.Token(
                branch=event.branch, step=event.step, request=event.request, position=position,
                token=tokens[position], draw=None,
            )  # fmt: skip
            self._rows.add("tokens", _token_row(forced, self._vocabulary.token_text(forced.token), None))

    def resume(self, rows: Iterable[RequestRow], state: State, outputs: Mapping[str, Sequence[int]]) -> None:
        """The engine went back to `state`: follow the requests that live in it, from their rows before."""
        self._live = {row.request: _Live(_back(row, state), array("i", outputs[row.request])) for row in rows}
        for live in self._live.values():
            self._write(live.row)

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


def _back(row: RequestRow, state: State) -> RequestRow:
    """The row of a request as it was when things stood as in `state`."""
    live, step = state.requests[row.request], state.step

    def known(at: int | None) -> int | None:
        return at if at is not None and at <= step else None

    admitted = known(row.admitted_step)
    return msgspec.structs.replace(
        row, branch=state.branch, output_tokens=live.output_tokens, preemptions=live.preemptions,
        cached_tokens=0 if admitted is None else row.cached_tokens, state=live.state.value,
        admitted_step=admitted, first_token_step=known(row.first_token_step), finished_step=None,
        finish_reason=None, finish_detail=None, message="", output_text=None,
    )  # fmt: skip


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
