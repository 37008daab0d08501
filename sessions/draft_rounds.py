"""How the tokens of a request came about, pass by pass: what was drafted, what became of it, what it took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from engine.details import MAX_CANDIDATES, TokenDetails
from engine.events import Drafted, Verified
from sessions.reader import Session
from sessions.records import TokenRow

PAGE = 256


@dataclass(frozen=True, slots=True)
class Choice:
    """A token and the likeliest one there, with their probabilities as the sampler left them.

    None where the run recorded no candidates; `own` also for a token that is none of those that were.
    """

    token: int
    likeliest: int | None = None
    probability: float | None = None
    own: float | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """One pass of the target and the tokens from `position` on that it gave a request.

    Nothing was `verified` where there were no drafts. `total_ns` is the time of the whole step, which other
    requests may have shared; `alone` says that none did and that nothing was prefilled. A `forced` token, with
    which a fork begins, was given by no pass. `plan_ns` is what
    of the time went by before the forward pass: drafting, and the plan.
    """

    step: int
    position: int
    choices: tuple[Choice, ...]
    drafted: Drafted | None
    verified: Verified | None
    total_ns: int
    alone: bool
    forced: bool = False
    plan_ns: int = 0

    @property
    def stop(self) -> int:
        """The position after its last token."""
        return self.position + len(self.choices)

    @property
    def accepted(self) -> int:
        """How many drafts were accepted."""
        return sum(each.verdict == "accepted" for each in self.verified.drafts) if self.verified else 0


def rounds_of(session: Session, request: str, branch: int, start: int) -> Iterator[Round]:
    """The rounds of a request whose tokens begin at `start` or after it, in order; read a page at a time.

    The pass that ends the prefill is none of them.
    """
    row = session.request(request, branch)
    at = max(start, row.prompt_tokens + 1)
    while rows := session.tokens(request, branch, at, at + PAGE):
        by_step = [list(group) for _, group in groupby(rows, key=lambda token: token.chosen_step)]
        whole = by_step if len(rows) < PAGE else by_step[:-1]  # the last one may go on behind the page
        for tokens in whole:
            yield _round(session, request, branch, tokens)
        at = whole[-1][-1].position + 1


def _round(session: Session, request: str, branch: int, tokens: Sequence[TokenRow]) -> Round:
    step, position = tokens[0].chosen_step, tokens[0].position
    chooser = session.chooser(request, position, branch)
    said = [row.event for row in session.events_of_step(step, branch)]
    drafted = (each for each in said if isinstance(each, Drafted) and each.request == chooser)
    verified = (each for each in said if isinstance(each, Verified) and each.request == chooser)
    details = {each.position: each for each in session.details_of_step(step, branch) if each.request == chooser}
    row = session.step_row(step, branch)
    works = row.works if row is not None else ()
    choices = tuple(_choice(token.token, details.get(token.position)) for token in tokens)
    return Round(
        step, position, choices, next(drafted, None), next(verified, None), row.total_ns if row else 0,
        alone=row is not None and len(works) == 1 and not row.prefill_tokens,
        forced=all(work.request != chooser for work in works),
        plan_ns=row.plan_ns if row else 0,
    )  # fmt: skip


def _choice(token: int, details: TokenDetails | None) -> Choice:
    """Candidates are those with the largest logits; one more where the chosen token is none of them."""
    if details is None or not len(details.candidates):
        return Choice(token)
    ids, probs = details.candidates.ids, details.candidates.prob
    best = max(range(min(len(ids), MAX_CANDIDATES)), key=probs.__getitem__)
    return Choice(token, ids[best], probs[best], probs[ids.index(token)] if token in ids else None)


__all__ = ["Choice", "Round", "rounds_of"]
