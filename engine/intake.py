"""Requests on their way in: checked, given an id, and queued; forks of others among them."""

from __future__ import annotations

import msgspec

from engine import events as ev
from engine.adapters import check_known
from engine.beams import considered_of
from engine.endings import Endings, MakeStopStrings
from engine.execution import Limits
from engine.forking import ForkSpec, make_fork
from engine.ids import request_id
from engine.option_error import OptionError
from engine.params import EngineOptions, RequestSpec, SamplingParams
from engine.planning.sizes import blocks_for, copies_for
from engine.reasons import FinishDetail
from engine.sink import Sink
from engine.stages import check_vocabulary
from engine.state import State


class RefusedError(ValueError):
    """A request that can never run here: `need` against `limit`, in the unit the message names."""

    def __init__(self, message: str, need: int, limit: int, detail: FinishDetail = "does_not_fit") -> None:
        super().__init__(message)
        self.need = need
        self.limit = limit
        self.detail: FinishDetail = detail


class Intake(Endings):
    """Takes requests in; what can never run is refused."""

    def __init__(
        self,
        state: State,
        sink: Sink | None,
        limits: Limits,
        stop_strings: MakeStopStrings | None,
        options: EngineOptions,
    ) -> None:
        super().__init__(state, sink, limits, stop_strings)
        self.options = options

    def check(self, spec: RequestSpec) -> None:
        """Raise RefusedError when `spec` can never run: context, pool, running limit, token ids or adapter.

        Raises OptionError when it biases a token that the model does not have.
        """
        check_vocabulary(spec.params, self.limits.vocab_size)
        self._check_adapter(spec.params.adapter)
        prompt = len(spec.prompt_ids)
        if (largest := max(spec.prompt_ids)) >= self.limits.vocab_size:
            size = self.limits.vocab_size
            raise RefusedError(f"token id {largest} is outside the vocabulary of {size}", largest, size)
        if prompt >= self.limits.max_context:
            limit = self.limits.max_context
            raise RefusedError(
                f"the prompt has {prompt} tokens; the context holds {limit}, one of them to generate",
                prompt, limit,
            )  # fmt: skip
        self._check_room(prompt, max(spec.n, spec.params.beams))
        if spec.n > self.options.max_running:
            limit = self.options.max_running
            raise RefusedError(f"n is {spec.n}; at most {limit} requests run at once", spec.n, limit)
        if spec.params.beams > 1:
            self._check_search(spec.params)

    def _check_search(self, params: SamplingParams) -> None:
        """All beams go on in one step, and the first token alone must offer each a way to go on."""
        beams, vocab = params.beams, self.limits.vocab_size
        for limit, what in (
            (self.options.max_running, "requests run at once"),
            (self.options.token_budget, "tokens are computed in a step"),
        ):
            if beams > limit:
                raise RefusedError(f"beams is {beams}; at most {limit} {what}", beams, limit)
        looked = considered_of(beams, len(params.stop_ids) + len(self.limits.eos_ids))
        if looked > vocab:
            raise RefusedError(f"beams is {beams}: a vocabulary of {vocab} is too small for them", looked, vocab)

    def _check_adapter(self, name: str) -> None:
        try:
            check_known(name, self.options.adapters)
        except OptionError as error:
            raise RefusedError(str(error), 0, 0, "no_adapter") from None

    def _check_room(self, prompt: int, samples: int) -> None:
        size, limit = self.options.block_size, self.state.blocks.num_blocks
        need = blocks_for(prompt, size) + copies_for(prompt, samples, size)
        if need > limit:
            raise RefusedError(
                f"the prompt needs {need} KV blocks of {size} tokens; the pool has {limit}", need, limit
            )

    def submit(self, spec: RequestSpec) -> list[str]:
        """Queue a request; returns its id, or the ids of its samples. One that can never run ends at once.

        Raises OptionError, and queues nothing, when it biases a token that the model does not have.
        """
        refused = self._refusal(spec)
        number = self.state.next_request
        ids = [request_id(number, sample if spec.n > 1 else None) for sample in range(spec.n)]
        room = max(1, self.limits.max_context - len(spec.prompt_ids))
        params = msgspec.structs.replace(spec.params, max_tokens=min(spec.params.max_tokens, room))
        events: list[ev.Event] = []
        emit = self._emitter(events)
        for sample, id_ in enumerate(ids):
            emit(
                self._event(
                    ev.Submitted, request=id_, arrival=self.state.next_arrival, priority=spec.priority,
                    sample=sample, samples=spec.n, leader=ids[0] if sample else None, params=params,
                    prompt_ids=spec.prompt_ids,
                )
            )  # fmt: skip
        if refused is not None:
            for id_ in ids:
                emit(
                    self._event(
                        ev.Finished, request=id_, reason="error", detail=refused.detail, output_tokens=0,
                        need=refused.need, limit=refused.limit, message=str(refused),
                    )
                )  # fmt: skip
        self._record(events)
        return ids

    def _refusal(self, spec: RequestSpec) -> RefusedError | None:
        try:
            self.check(spec)
        except RefusedError as refused:
            return refused
        return None

    def fork(self, spec: ForkSpec) -> str:
        """Queue a request that goes on from another one with something changed; its id.

        Raises OptionError where there is no such request or position, or where the fork can never run.
        """
        self._between_steps()
        fork = make_fork(spec, self.tokens, self.limits, self.options.seed)
        self._check_adapter(fork.params.adapter)
        self._check_room(spec.at_position + len(fork.appended), 1)
        id_ = request_id(self.state.next_request)
        events: list[ev.Event] = []
        emit = self._emitter(events)
        emit(
            self._event(
                ev.Forked, request=id_, arrival=self.state.next_arrival, priority=fork.priority,
                sample=fork.sample, parent=spec.parent, at_position=spec.at_position, appended=fork.appended,
                prompt_tokens=fork.prompt_tokens, params=fork.params, changed=fork.changed,
                intervened=fork.intervened,
            )
        )  # fmt: skip
        if spec.token is not None:
            self._end_if_complete(self.state.requests[id_], spec.token, emit)
        self._record(events)
        return id_
