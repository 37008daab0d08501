"""Explains recorded tokens from their logits, as the engine chose them."""

from __future__ import annotations

from collections.abc import Sequence

from engine import events as ev
from engine.changed_logits import Processed
from engine.details import TokenDetails
from engine.execution import RecordedProcessing, recorded_processing
from engine.explain import explain
from engine.sampler_rows import SamplerRows
from engine.sampling import SamplerRow, choose
from engine.timeline import Past
from sessions.header import Header
from sessions.scratch import Logits


class Explainer:
    """Chooses again from the same logits, which gives the same tokens, and says why."""

    def __init__(self, header: Header) -> None:
        self._rows = SamplerRows(header.options.seed, header.shape.vocab_size)

    def explain(self, before: Past, events: Sequence[ev.Event], logits: Logits | None) -> Sequence[TokenDetails]:
        """The details of the `token` events among `events`; `before` is how things stood before them."""
        chosen = [event for event in events if isinstance(event, ev.Token)]
        changes = recorded_processing(events)
        details = () if logits is None or not chosen else self._explain(before, chosen, changes, logits)
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
        rows = [self._row(before, event.request, processed.get(event.request, ())) for event in chosen]
        choices = choose(logits, rows)
        assert choices.tokens == [event.token for event in chosen], "the logits choose other tokens"
        return explain(logits, rows, choices)

    def _row(self, before: Past, request: str, processed: tuple[Processed, ...]) -> SamplerRow:
        live, tokens = before.state.requests[request], before.tokens.tokens_of(request)
        return self._rows.row(request, live.params, live.sample, live.prompt_tokens, tokens, processed)
