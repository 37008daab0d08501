"""When an output is complete, and saying so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine import events as ev
from engine.books import Books, Emit
from engine.execution import Limits
from engine.sink import Sink
from engine.state import Request, State
from engine.stopping import Stop, StopStrings, stop_after

MakeStopStrings = Callable[[Sequence[int], Sequence[str]], StopStrings]  # prompt ids, stop strings


class Endings(Books):
    """Ends requests whose output is complete under the model's `limits` and their own settings."""

    def __init__(
        self, state: State, sink: Sink | None, limits: Limits, stop_strings: MakeStopStrings | None
    ) -> None:
        super().__init__(state, sink)
        self.limits = limits
        self._make_stop_strings = stop_strings
        self._stop_strings: dict[str, StopStrings] = {}

    def _forget(self, request: str) -> None:
        self._stop_strings.pop(request, None)

    def _end_if_complete(self, request: Request, token: int, emit: Emit) -> None:
        """End `request` where `token`, its newest, completes it."""
        stop = stop_after(request, token, self.limits, self._strings_of(request, request.num_tokens - 1))
        if stop is not None:
            self._end(request, stop, emit)

    def _cut_at_end(self, request: Request, tokens: Sequence[int]) -> tuple[int, Stop | None]:
        """How many of `tokens`, which come next, the output of `request` takes, and why it ends with the last."""
        strings = self._strings_of(request, request.num_tokens)
        for count, token in enumerate(tokens, 1):
            stop = stop_after(request, token, self.limits, strings, count)
            if stop is not None:
                return count, stop
        return len(tokens), None

    def _end(self, request: Request, stop: Stop, emit: Emit) -> None:
        emit(
            self._event(
                ev.Finished, request=request.id, reason=stop.reason, detail=stop.detail,
                output_tokens=request.output_tokens, message=stop.message,
            )
        )  # fmt: skip

    def _strings_of(self, request: Request, told: int) -> StopStrings | None:
        """What looks for the stop strings of `request`, told of its first `told` tokens."""
        if not request.params.stop or self._make_stop_strings is None:
            return None
        if request.id not in self._stop_strings:
            self._stop_strings[request.id] = self._new_stop_strings(request, told, self._make_stop_strings)
        return self._stop_strings[request.id]

    def _new_stop_strings(self, request: Request, told: int, make: MakeStopStrings) -> StopStrings:
        tokens = self.tokens.tokens_of(request.id)
        strings = make(tokens[: request.prompt_tokens], request.params.stop)
        for token in tokens[request.prompt_tokens : told]:
            strings.push(token)
        return strings
