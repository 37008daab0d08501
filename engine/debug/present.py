"""The present moment of an engine: its state, the step under way or the latest one, and the tokens it chose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from engine import events as ev
from engine.debug.bound import Place
from engine.debug.candidates import KnownCandidates, chosen_of
from engine.debug.errors import LacksError
from engine.debug.judging import Instant
from engine.debug.moment import Chosen, Moment
from engine.debug.points import Point
from engine.debug.said import When, place_text
from engine.debug.seen_stages import SeenStages
from engine.details import TokenDetails
from engine.engine import Begun, Engine, Step
from engine.events import Work
from engine.execution import Halted
from engine.sanitise import display_text
from engine.wording import sentence

TextOf = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class _Said:
    """A token of the latest step, and its index among them."""

    event: ev.Token
    index: int


@dataclass(slots=True)
class Present:
    """What can be seen of `engine` now; nothing that is looked at changes the run."""

    engine: Engine
    text_of: TextOf
    stages: SeenStages = field(default_factory=SeenStages)
    unread: Step | None = None  # the latest step, when nobody has looked at it
    _batch: tuple[Work, ...] = ()
    _latest: Step | None = None
    _details: dict[tuple[str, int], TokenDetails] | None = None  # of the latest step, once somebody asked
    _tokens: dict[tuple[str, int], _Said] = field(default_factory=dict)

    # -- what happens --------------------------------------------------------------------------------

    def planned(self, begun: Begun) -> None:
        """A step is planned."""
        self._batch, self.unread = begun.plan.batch, None
        self.stages.begin(begun.forward)
        self._tokens.clear()

    def committed(self, step: Step) -> None:
        """A step is over, and what was seen of its stages is still known."""
        chosen = [event for event in step.results if isinstance(event, ev.Token)]
        self._latest, self._details, self.unread = step, None, None
        self._tokens = {(e.request, e.position): _Said(e, index) for index, e in enumerate(chosen)}

    def elsewhere(self) -> None:
        """The engine stands elsewhere in time: nothing of a step is known."""
        self._batch, self._latest, self.unread = (), None, None
        self._tokens.clear()
        self.stages.begin()

    def catch_up(self) -> None:
        """Take in a step that nothing was looked for in."""
        if self.unread is not None:
            self._batch = self.unread.plan.batch
            self.stages.begin()
            self.committed(self.unread)
        if self._latest is not None and self._latest.number != self.engine.state.step:
            self._tokens.clear()

    # -- what is looked at ---------------------------------------------------------------------------

    @property
    def tokens(self) -> Sequence[tuple[str, int]]:
        """Request and position of every token that the latest step chose."""
        return list(self._tokens)

    @property
    def standing(self) -> str:
        """Where the engine stands, in words."""
        begun = self.engine.begun
        if begun is None:
            return f"after step {self.engine.state.step}"
        at = begun.forward.at if isinstance(begun.forward, Halted) else None
        if at is None:
            return f"step {begun.plan.step} is planned and not computed"
        return f"inside step {begun.plan.step} at {place_text(at.layer, at.stage)}"

    def moment(self, request: str | None = None, position: int | None = None) -> Moment:
        """Now, looking at `request` and its token at `position`: by default the one that this step chose."""
        self.catch_up()
        if request is None:
            if position is not None:
                raise LacksError("say whose position")
            return self._moment()
        said = self._said(request, position)
        return self._moment(request) if said is None else self._moment(request, *self._chosen(said))

    def instant(self, when: When, happened: Sequence[ev.Event], place: Place | None = None) -> Instant:
        """Now, and all who can be looked at."""
        return Instant(
            when, self._moment(), self._of_requests if when != "inside" else self._of_batch, self._of_tokens,
            happened, self._sentence, place, self._ready,
        )  # fmt: skip

    def _moment(
        self, request: str | None = None, chosen: Chosen | None = None, candidates: KnownCandidates | None = None
    ) -> Moment:
        return Moment(
            self.engine.state, self._batch, self.engine.tokens.__contains__, self.text_of, self.stages, request,
            chosen, candidates,
        )  # fmt: skip

    def _said(self, request: str, position: int | None) -> _Said | None:
        if position is None:
            own = [said for (whose, _), said in self._tokens.items() if whose == request]
            return own[-1] if own else None
        found = self._tokens.get((request, position))
        if found is None and request in self.engine.tokens:
            raise self._not_now(request, position)
        return found

    def _not_now(self, request: str, position: int) -> LacksError:
        """Why the token at `position` is not one of this step's."""
        log = self.engine.tokens
        tokens, prompt = len(log.tokens_of(request)), log.prompt_tokens_of(request)
        if prompt <= position < tokens:
            return LacksError(f"position {position} was chosen in an earlier step: go there with goto")
        if tokens == prompt:
            return LacksError(f"request {request} has chosen no token yet")
        return LacksError(
            f"request {request} chose no token at position {position}: it chose {prompt} to {tokens - 1}"
        )

    def _of_requests(self) -> Iterable[Moment]:
        return [self._moment(request) for request in self.engine.state.requests]

    def _of_batch(self) -> Iterable[Moment]:
        return [self._moment(work.request) for work in self._batch]

    def _of_tokens(self) -> Iterable[Moment]:
        return (self._moment(said.event.request, *self._chosen(said)) for said in self._tokens.values())

    def _ready(self, point: Point, request: str) -> bool:
        """Whether everything that the point looks at in the pass is behind: judged at the last of it."""
        if point.expression is None or point.place is not None or not point.expression.places:
            return True
        begun = self.engine.begun
        at = begun.forward.at if begun and isinstance(begun.forward, Halted) else None
        here = at is not None and (at.layer, at.stage) in point.expression.places
        return (here or point.every_stage) and self.stages.knows(point.expression.places, request)

    def _chosen(self, said: _Said) -> tuple[Chosen, KnownCandidates]:
        assert self._latest is not None
        event = said.event
        if self._details is None:
            self._details = {(each.request, each.position): each for each in self._latest.details()}
        details = self._details.get((event.request, event.position))
        logits = self._latest.details.logits
        candidates = KnownCandidates(details, None if logits is None else logits[said.index])
        bare = Chosen(event.request, event.position, event.token, event.draw)
        return bare if details is None else chosen_of(details), candidates

    def _sentence(self, event: ev.Event) -> str:
        return sentence(event, lambda token: display_text(self.text_of(token)))
