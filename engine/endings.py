"""When an output is complete, and saying so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine import events as ev
from engine.books import Books, Emit
from engine.execution import Limits
from engine.sink import Sink
from engine.state import Request, State
from engine.stopping import StopStrings, stop_after

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
        stop = stop_after(request, token, self.limits, self._strings_of(request))
        if stop is not None:
            emit(
                self._event(
                    ev.Finished, request=request.id, reason=stop.reason, detail=stop.detail,
                    output_tokens=request.output_tokens, message=stop.message,
                )
            )  # fmt: skip

    def _strings_of(self, request: Request) -> StopStrings | None:
        if not request.params.stop or self._make_stop_strings is None:
            return None
        if request.id not in self._stop_strings:
            self._stop_strings[request.id] = self._new_stop_strings(request, self._make_stop_strings)
        return self._stop_strings[request.id]

    def _new_stop_strings(self, request: Request, make: MakeStopStrings) -> StopStrings:
        """What looks for the stop strings of `request`, told of all its output but the newest token."""
        tokens = self.tokens.tokens_of(request.id)
        strings = make(tokens[: request.prompt_tokens], request.params.stop)
        for token in tokens[request.prompt_tokens : request.num_tokens - 1]:
            strings.push(token)
        return strings
