"""Explains recorded tokens from their logits, as the engine chose them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from engine import events as ev
from engine.acceptance import verify
from engine.beam_rows import explain_beams
from engine.beams import margin_of
from engine.details import TokenDetails
from engine.drafting import NO_DRAFT
from engine.execution import RecordedProcessing, recorded_processing
from engine.explain import explain
from engine.sampler_rows import SamplerRows
from engine.sampling import Choices, SamplerRow, Trail, choose
from engine.timeline import Past
from sessions.header import Header
from sessions.scratch import Logits


class _Made(NamedTuple):
    """A choice made again."""

    row: SamplerRow
    token: int
    draw: float | None
    trail: Trail | None


class _Beam(NamedTuple):
    """What a beam went on with, from the row of `parent`; `gap` is how near two candidates were."""

    parent: str
    token: int
    gap: float


def _beams_of(events: Sequence[ev.Event]) -> dict[str, _Beam]:
    """The beams that went on or ended in a step, in the order of their tokens."""
    found: dict[str, _Beam] = {}
    for event in events:
        if isinstance(event, ev.BeamsChosen):
            gap = margin_of(event.candidates)
            for each in event.candidates:
                if each.request:
                    found[each.request] = _Beam(each.parent, each.token, gap)
    return found


class Explainer:
    """Chooses again from the same logits, which gives the same tokens, and says why."""

    def __init__(self, header: Header) -> None:
        self._rows = SamplerRows(header.options.seed, header.shape.vocab_size)

    def explain(self, before: Past, events: Sequence[ev.Event], logits: Logits | None) -> Sequence[TokenDetails]:
        """The details of the `token` events among `events`; `before` is how things stood before them."""
        chosen = [event for event in events if isinstance(event, ev.Token)]
        changes = recorded_processing(events)
        beams = _beams_of(events)
        alone = [event for event in chosen if event.request not in beams]  # said before those of beams
        details: list[TokenDetails] = []
        if logits is not None and alone:
            details += self._explain(before, alone, changes, logits[: len(alone)])
        if logits is not None and beams:
            details += self._explain_beams(before, beams, changes, logits[len(alone) :])
        for event in events:
            if isinstance(event, ev.Finished):
                self._rows.forget(event.request)
        return details

    def forget_all(self, requests: Sequence[str]) -> None:
        """The engine went back: what was counted of these requests' tokens no longer holds."""
        for request in requests:
            self._rows.forget(request)

    def _explain(
        self, before: Past, chosen: Sequence[ev.Token], processed: RecordedProcessing, logits: Logits
    ) -> Sequence[TokenDetails]:
        if any(before.state.requests[event.request].draft for event in chosen):
            rows, choices = self._verify(before, chosen, processed, logits)
        else:
            rows = [self._row(before, event.request, (), processed) for event in chosen]
            choices = choose(logits, rows)
        assert choices.tokens == [event.token for event in chosen], "the logits choose other tokens"
        return explain(logits, rows, choices)

    def _verify(
        self, before: Past, chosen: Sequence[ev.Token], processed: RecordedProcessing, logits: Logits
    ) -> tuple[list[SamplerRow], Choices]:
        """Choose again where drafts were verified: a request may have several of the rows of `logits`."""
        places: dict[str, list[int]] = {}
        for at, event in enumerate(chosen):
            places.setdefault(event.request, []).append(at)
        made: dict[int, _Made] = {}
        for request, rows in places.items():
            made.update(zip(rows, self._checked(before, request, processed, logits[rows]), strict=True))
        found = [made[at] for at in range(len(chosen))]
        choices = Choices([it.token for it in found], [it.draw for it in found], [it.trail for it in found])
        return [it.row for it in found], choices

    def _checked(
        self, before: Past, request: str, processed: RecordedProcessing, logits: Logits
    ) -> Iterator[_Made]:
        """The choices of one request again, from its rows of logits in the order of its tokens."""
        draft = before.state.requests[request].draft or NO_DRAFT
        checked = verify(
            draft,
            lambda _node, depth: logits[depth] if depth < len(logits) else None,
            lambda _raw, tokens: self._row(before, request, tokens, processed),
        )
        return map(_Made, checked.rows, checked.tokens, checked.draws, checked.trails)

    def _explain_beams(
        self, before: Past, beams: Mapping[str, _Beam], processed: RecordedProcessing, logits: Logits
    ) -> Sequence[TokenDetails]:
        """The details of the tokens that beams went on with; each row is that of the beam it came from."""
        rows = [
            replace(self._row(before, beam.parent, (), processed), request_id=request, gap=beam.gap)
            for request, beam in beams.items()
        ]
        return explain_beams(logits, rows, [beam.token for beam in beams.values()])

    def _row(
        self, before: Past, request: str, chosen: Sequence[int], processed: RecordedProcessing
    ) -> SamplerRow:
        """The row that chooses what follows the tokens of `request` before the step, and those `chosen` in it."""
        live, tokens = before.state.requests[request], before.tokens.tokens_of(request)
        if chosen:
            tokens = (*tokens, *chosen)
        done = processed.get((request, len(tokens)), ())
        return self._rows.row(request, live.params, live.sample, live.prompt_tokens, tokens, done)
