"""The same requests under the plain scheduler and under chaos: do all of them get the same tokens?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import NamedTuple

from engine import events as ev
from engine.chaos import ChaosScheduler
from engine.engine import Engine, Step
from engine.tokens import TokenLog

Feed = Callable[[Engine], None]  # submits what is due; called before every step


class Chosen(NamedTuple):
    """A token and how it was chosen; `logits_hash` and what follows are None where there is no model."""

    token: int
    logits_hash: int | None = None
    margin: float | None = None
    near_tie: bool = False
    position: int | None = None
    """Of a beam's token, of which a search chooses several for one position."""


@dataclass(slots=True)
class Ran:
    """A finished run: what was chosen for each request, from its first output token on, and what happened.

    All beams of a search count as the request that it began with: which of them gets which id depends on what
    else forks meanwhile. What they were continued by comes position after position, best first.
    """

    chosen: dict[str, list[Chosen]] = field(default_factory=dict)
    steps: int = 0
    happened: Counter[str] = field(default_factory=Counter)  # by type of event

    def saw(self, step: Step) -> None:
        """Keep what `step` chose."""
        self.steps += 1
        self.happened.update(ev.type_of(event) for event in step.plan.events)
        details = {(about.request, about.position): about for about in step.details()}
        beams: dict[str, str] = {}
        for event in step.results:
            if isinstance(event, ev.BeamsChosen):
                beams |= {each.request: event.request for each in event.candidates if each.request}
            elif isinstance(event, ev.Token):
                about = details.get((event.request, event.position))
                why = (about.logits_hash, about.margin, about.near_tie) if about else ()
                chosen, search = Chosen(event.token, *why), beams.get(event.request)
                if search is not None:
                    chosen = chosen._replace(position=event.position)
                self.chosen.setdefault(search or event.request, []).append(chosen)


@dataclass(frozen=True, slots=True)
class Parting:
    """The first output where two runs of a request differ; None where one of them ended before."""

    request: str
    position: int
    plain: Chosen | None
    chaos: Chosen | None

    @property
    def near_tie(self) -> bool:
        """Whether rounding can have turned this choice."""
        return any(chosen is not None and chosen.near_tie for chosen in (self.plain, self.chaos))


class Round(NamedTuple):
    """A run under chaos, and where its requests parted from the plain run."""

    seed: str
    ran: Ran
    partings: Sequence[Parting]


def run_plain(engine: Engine, feed: Feed, stepped: Callable[[Engine], None] = lambda _: None) -> Ran:
    """Run everything that `feed` submits; `stepped` is told after every step. Raises StepFailedError."""
    ran = Ran()
    while True:
        feed(engine)
        step = engine.step()
        if step is None:
            return ran
        ran.saw(step)
        stepped(engine)


def run_chaos(engine: Engine, feed: Feed, seed: str, stepped: Callable[[Engine], None] = lambda _: None) -> Ran:
    """The same under chaos that follows from `seed`."""
    engine.scheduler = ChaosScheduler(engine.options, engine.tokens, engine.limits.shareable_prompt, seed)
    return run_plain(engine, feed, stepped)


def partings(plain: Ran, chaos: Ran, log: TokenLog, to_the_bit: bool = False) -> Iterator[Parting]:
    """Where requests part: at the first other token or, `to_the_bit`, at the first other row of logits.

    `log` knows the requests of the run. What comes after a parting follows from it, and is not compared.
    """
    for request in sorted(plain.chosen.keys() | chaos.chosen.keys()):
        pairs = zip_longest(plain.chosen.get(request, ()), chaos.chosen.get(request, ()))
        for index, (before, now) in enumerate(pairs):
            if before is None or now is None or not _same(before, now, to_the_bit):
                yield Parting(request, _position(before, now, log.prompt_tokens_of(request) + index), before, now)
                break


def _position(plain: Chosen | None, chaos: Chosen | None, otherwise: int) -> int:
    found = (each.position for each in (plain, chaos) if each is not None and each.position is not None)
    return min(found, default=otherwise)


def _same(plain: Chosen, chaos: Chosen, to_the_bit: bool) -> bool:
    return plain.token == chaos.token and (not to_the_bit or plain.logits_hash == chaos.logits_hash)
