"""Commands that change what happens from here on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from engine.debug import commands as do
from engine.debug.debugger import Debugger
from engine.debug.errors import DebugError
from engine.debug.reading import with_settings
from engine.debug.said import Shown
from engine.forking import ForkSpec
from engine.protocol import RequestText
from engine.workload import Encode, EncodeText, to_spec

ChangeCommand: TypeAlias = (
    do.Submit | do.Fork | do.AbortRequest | do.Preempt | do.Evict | do.SetPolicy | do.Rewind
)


@dataclass(frozen=True, slots=True)
class Means:
    """What commands need beside an engine: text to tokens, and what must happen around a rewind."""

    encode: Encode
    encode_text: EncodeText
    before_rewind: Callable[[], None] = lambda: None
    after_rewind: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Changing:
    """Changes the engine of `debugger`; `selected` is whom a fork is of, where the command does not say."""

    debugger: Debugger
    means: Means
    selected: do.Whose | None

    def carry_out(self, command: ChangeCommand) -> Shown:
        """Raises ValueError or RuntimeError, in one line, where that is not possible."""
        engine = self.debugger.engine
        match command:
            case do.Submit(prompt=prompt, params=params, n=n, priority=priority):
                text = RequestText(prompt=prompt, params=params, n=n, priority=priority)
                spec = to_spec(text, self.means.encode)
                ids = tuple(engine.submit(spec))
                return Shown((f"queued request {', '.join(ids)}",), requests=ids)
            case do.Fork():
                request = engine.fork(self._fork_spec(command))
                return Shown((f"queued the fork as request {request}",), requests=(request,))
            case do.AbortRequest(request=request):
                if request not in engine.state.requests:
                    raise DebugError(f"request {request} is not live: there is nothing to abort")
                engine.abort(request)
                return Shown((f"request {request} is aborted",))
            case do.Preempt(request=request):
                engine.preempt(request)
                return Shown((f"request {request} is preempted",))
            case do.Evict(block=block):
                before = engine.state.totals.evicted_blocks
                engine.evict(block)
                count = engine.state.totals.evicted_blocks - before
                return Shown((f"evicted {count} block{'s' if count != 1 else ''}",))
            case do.SetPolicy(policy=policy):
                engine.set_policy(policy)
                return Shown((f"admitting by {policy} from the next step on",))
            case do.Rewind(step=step, exact=exact):
                return self._rewind(step, exact)

    def _fork_spec(self, command: do.Fork) -> ForkSpec:
        whose = command.whose or self.selected
        if whose is None:
            raise DebugError("say what to fork: a request and a position")
        tokens = self.debugger.engine.tokens
        if whose.request not in tokens:
            raise DebugError(f"there is no request {whose.request}")
        position = len(tokens.tokens_of(whose.request)) if whose.position is None else whose.position
        token = self._one_token(command.token) if isinstance(command.token, str) else command.token
        ids = None if command.prompt_end is None else tuple(self.means.encode_text(command.prompt_end))
        params = None
        if command.settings:
            params = with_settings(tokens.asked(whose.request).params, command.settings)
        return ForkSpec(whose.request, position, token, ids, params, command.scales)

    def _one_token(self, text: str) -> int:
        ids: Sequence[int] = self.means.encode_text(text)
        if len(ids) != 1:
            raise DebugError(f"{text!r} is {len(ids)} tokens: give text that is one, or a token's id")
        return ids[0]

    def _rewind(self, step: int, exact: bool) -> Shown:
        engine = self.debugger.engine
        self.means.before_rewind()
        found = engine.rewind(step, exact=exact)
        self.debugger.rewound()
        self.means.after_rewind()
        took = f"{found.recomputed_tokens} tokens computed again"
        if exact:
            took = f"{found.replayed_steps} steps run again from step {found.replayed_from}"
        return Shown(
            (f"at step {found.step}, in the new branch {found.branch}: {took}",), goto=(found.branch, step)
        )
