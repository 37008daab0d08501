"""From bookkeeping to a job: the tokens, tables and choices of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine import events as ev
from engine.execution import Choice, Job, Load, Slice
from engine.state import Request, State
from engine.tokens import TokenLog


@dataclass(frozen=True, slots=True)
class JobMaker:
    """Makes jobs of batches that `state` has scheduled; `log` knows the tokens."""

    state: State
    log: TokenLog

    def job(self, plan: Sequence[ev.Event], batch: Sequence[ev.Work]) -> Job:
        """The job of a step whose `plan` is applied."""
        slices = [self._slice(work) for work in batch]
        found = [choice for row, work in enumerate(batch) for choice in self._choices(row, work)]
        beams = [choice for choice in found if choice.params.beams > 1]
        choices = [choice for choice in found if choice.params.beams == 1] if beams else found
        return Job(
            [event for event in plan if isinstance(event, ev.Copied)], slices, choices, beams=beams,
            offloads=[event for event in plan if isinstance(event, ev.Offloaded)],
            loads=[self._load(event) for event in plan if isinstance(event, ev.Loaded)],
        )  # fmt: skip

    def _load(self, event: ev.Loaded) -> Load:
        size = self.state.blocks.block_size
        return Load(event, self._slice(ev.Work(event.request, "prefill", event.index * size, event.tokens)))

    def _slice(self, work: ev.Work) -> Slice:
        tokens: Sequence[int] = self.log.tokens_of(work.request)[work.start : work.stop]
        request = self.state.requests[work.request]
        if work.phase == "verify" and (draft := request.draft) is not None:
            tokens = (*tokens, *(draft.tokens[at] for at in draft.main))
            work = ev.Work(work.request, work.phase, work.start, len(tokens))
        intervened = self.log.intervened_of(work.request)
        adapter = request.params.adapter
        return Slice(work, tokens, request.table, request.prompt_tokens, intervened, adapter, request.dropped)

    def _choices(self, row: int, work: ev.Work) -> list[Choice]:
        """Whose next token the last row of `work` chooses: its request, and samples that wait for its prefill."""
        request = self.state.requests[work.request]
        if work.stop < request.num_tokens:
            return []
        return [self._choice(row, other) for other in (request, *self.state.heirs(request))]

    def _choice(self, row: int, request: Request) -> Choice:
        tokens = self.log.tokens_of(request.id)
        prompt = request.prompt_tokens
        return Choice(request.id, row, request.sample, request.params, prompt, tokens, request.draft)
