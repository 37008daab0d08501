"""Explains recorded tokens from their logits, as the engine chose them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine import events as ev
from engine.details import TokenDetails
from engine.explain import explain
from engine.sampler_rows import SamplerRows
from engine.sampling import SamplerRow, choose
from engine.state import Request
from engine.tokens import TokenLog
from sessions.header import Header
from sessions.scratch import Logits


class Explainer:
    """Chooses again from the same logits, which gives the same tokens, and says why. `requests` are live ones."""

    def __init__(self, header: Header, requests: Mapping[str, Request]) -> None:
        self._requests = requests
        self._tokens = TokenLog()
        self._rows = SamplerRows(header.options.seed, header.shape.vocab_size)

    def explain(self, events: Sequence[ev.Event], logits: Logits | None) -> Sequence[TokenDetails]:
        """The details of the `token` events among `events`, which are not folded yet."""
        chosen = [event for event in events if isinstance(event, ev.Token)]
        details = () if logits is None or not chosen else self._explain(chosen, logits)
        for event in events:
            self._tokens.apply(event)
            if isinstance(event, ev.Finished):
                self._rows.forget(event.request)
        return details

    def _explain(self, chosen: Sequence[ev.Token], logits: Logits) -> Sequence[TokenDetails]:
        rows = [self._row(event.request) for event in chosen]
        choices = choose(logits, rows)
        assert choices.tokens == [event.token for event in chosen], "the logits choose other tokens"
        return explain(logits, rows, choices)

    def _row(self, request: str) -> SamplerRow:
        live, tokens = self._requests[request], self._tokens.tokens_of(request)
        return self._rows.row(request, live.params, live.sample, live.prompt_tokens, tokens)
