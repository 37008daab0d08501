"""Who drafts: the hook of speculative decoding, what it is told, and what it may answer. No torch here.

Drafts are asked for before each plan, for every request that decodes in it. What the plan makes of them is its
own business: it may verify fewer of them, or none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from engine.drafting import Draft, DraftedBy, Drafts, Recent
from engine.params import SamplingParams
from engine.plug_guard import DEADLINE_S, ContractError, call_hook

MOST_DRAFTS = 64
"""The most tokens that may be drafted for a request in a step."""


@dataclass(frozen=True, slots=True, eq=False)
class DraftRequest:
    """A request that decodes next: what follows `tokens`, prompt and output so far, may be drafted.

    At most `most` tokens of it are of use, in one line of descent. The KV of all but the newest token lies in the
    blocks of `table`. `seed`, `sample` and `position` key draws; `recent` says how well its latest drafts did.
    """

    request: str
    tokens: Sequence[int]
    prompt_tokens: int
    params: SamplingParams
    seed: int
    sample: int
    most: int
    table: Sequence[int]
    recent: Recent

    @property
    def position(self) -> int:
        """Where the first drafted token would stand."""
        return len(self.tokens)


@runtime_checkable
class Drafter(Protocol):
    """Guesses what comes next, to be verified by the model in one pass. At most one in a run.

    Output does not depend on it, only speed: greedy tokens are those of plain decoding, and drawn ones follow the
    same distribution. When it raises, takes longer than 2 s (or `deadline_s`, where it has one) or breaks its
    contract, the plugin is disabled and the run goes on without.
    """

    def propose_drafts(self, asked: Sequence[DraftRequest]) -> Sequence[Draft | None]:
        """Called before each plan in which a request decodes, in the engine's process.

        Returns an answer for each of `asked`, None where it has no guess. A draft that was drawn comes with the
        distribution it was drawn from (`Draft.drawn`), and then nothing else may depend on that draw. A drafter
        with an `attach(executor, folder)` gets the engine's executor and the model's folder once, before step 1.
        """
        ...


@dataclass(frozen=True, slots=True)
class GuardedDrafter:
    """A plugin's drafter, held to its contract."""

    plugin: str
    drafter: Any

    def propose(self, asked: Sequence[DraftRequest], vocab_size: int) -> Drafts:
        """The drafts of those that got any, of tokens below `vocab_size`. Raises PluginFailedError."""
        deadline = getattr(self.drafter, "deadline_s", DEADLINE_S)
        return call_hook(self.plugin, "propose_drafts", lambda: self._checked(asked, vocab_size), deadline)

    def _checked(self, asked: Sequence[DraftRequest], vocab_size: int) -> Drafts:
        answers = list(self.drafter.propose_drafts(tuple(asked)))
        if len(answers) != len(asked):
            raise ContractError(f"returned {len(answers)} answers for {len(asked)} requests")
        pairs = zip(asked, answers, strict=True)
        drafts = {it.request: check(draft, it.most, vocab_size) for it, draft in pairs if draft is not None}
        return {request: DraftedBy(self.plugin, draft) for request, draft in drafts.items() if draft.tokens}


def check(draft: object, most: int, vocab_size: int) -> Draft:
    """`draft` as it can be verified; ContractError where it cannot."""
    if not isinstance(draft, Draft):
        raise ContractError(f"returned {type(draft).__name__}, not Draft or None")
    size = len(draft.tokens)
    if size > MOST_DRAFTS:
        raise ContractError(f"drafted {size} tokens: {MOST_DRAFTS} are the most")
    for token in draft.tokens:
        if not (isinstance(token, int) and 0 <= token < vocab_size):
            raise ContractError(f"drafted token {token!r}: the vocabulary has {vocab_size}")
    for what, values in (("q", draft.q), ("spreads", draft.spreads), ("parents", draft.parents)):
        if (values or what == "q") and len(values) != size:
            raise ContractError(f"gave {len(values)} {what} for {size} tokens")
    for token, q, spread in zip(draft.tokens, draft.q, draft.spreads or (None,) * size, strict=True):
        _check_q(token, q, spread, vocab_size)
    depth: list[int] = []
    for at in range(size):
        parent = draft.parent(at)
        if not -1 <= parent < at:
            raise ContractError(f"draft {at} follows draft {parent}, which does not come before it")
        depth.append(1 + (depth[parent] if parent >= 0 else 0))
    if max(depth, default=0) > most:
        raise ContractError(f"drafted {max(depth)} tokens in a row where {most} are of use")
    return draft


def _check_q(token: int, q: float, spread: Any, vocab_size: int) -> None:
    if spread is None:
        if q != 1.0:
            raise ContractError(f"gave q {q!r} for token {token}, and nothing that it was drawn from")
        return
    probs = dict(zip(spread.ids, spread.probs, strict=True))
    if len(probs) != len(spread.ids) or not all(0 <= each < vocab_size for each in probs):
        raise ContractError(f"drew token {token} from ids that are not distinct tokens")
    if not all(0 <= p <= 1 for p in probs.values()) or not math.isclose(sum(probs.values()), 1, abs_tol=1e-6):
        raise ContractError(f"drew token {token} from probabilities that do not sum to 1")
    if probs.get(token) != q or not q > 0:
        raise ContractError(f"gave q {q!r} for token {token}, which was drawn with {probs.get(token)!r}")
