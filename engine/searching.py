"""Beam searches taken a token further: what a step's rows make of every beam, said as events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine import events as ev
from engine.beam_rows import BeamDetails, BeamRow, Continuation
from engine.beams import Beam, Continued, Rules, continue_beams, margin_of
from engine.books import Emit
from engine.execution import DetailsOf, Job, Outcome
from engine.state import Request
from engine.stopping import stop_after
from engine.taking import Taking


class Searching(Taking):
    """Takes what beams go on with into the books."""

    def _go_on(self, job: Job, outcome: Outcome, emit: Emit) -> list[Continuation]:
        """Continue every search whose beams have rows in this step; the tokens that they got, in order."""
        made: list[Continuation] = []
        searches = dict.fromkeys(self.state.requests[choice.request].search for choice in job.beams)
        for search in filter(None, searches):
            beams = [beam for beam in self.state.beams_of(search) if beam.id in outcome.beams]
            made += self._continue_search(search, beams, outcome.beams, emit)
        return made

    def _continue_search(
        self, search: str, beams: Sequence[Request], rows: Mapping[str, BeamRow], emit: Emit
    ) -> list[Continuation]:
        beams = sorted(beams, key=lambda beam: (-beam.score, beam.arrival))
        position = beams[0].num_tokens
        for beam in beams:
            self._say_processed(beam, rows[beam.id], emit)
        continued = self._continued(search, beams, rows)
        parents = {beam.id: beam for beam in beams}
        taken = [each for each in continued.candidates if each.request]
        for each in taken:
            if each.request != each.parent:
                self._fork_beam(search, parents[each.parent], each.request, emit)
        chosen = {"candidates": continued.candidates, "hypotheses": continued.hypotheses}
        emit(self._event(ev.BeamsChosen, request=search, position=position, **chosen))
        for each in taken:
            emit(self._event(ev.Token, request=each.request, position=position, token=each.token, draw=None))
        if continued.over is not None:
            emit(self._event(ev.BeamsEnded, request=search, why=continued.over, best=continued.hypotheses))
        self._end_beams(continued, beams, emit)
        gap = margin_of(continued.candidates)
        return [Continuation(each.request, rows[each.parent], each.token, gap) for each in taken]

    def _continued(self, search: str, beams: Sequence[Request], rows: Mapping[str, BeamRow]) -> Continued:
        first, limits = beams[0], self.limits
        ending = len(first.params.stop_ids) + (0 if first.params.ignore_eos else len(limits.eos_ids))

        def ends(token: int, _length: int) -> bool:
            return stop_after(first, token, limits, None, uncounted=1) is not None

        return continue_beams(
            [Beam(beam.id, beam.score, rows[beam.id]) for beam in beams], Rules.of(first.params, ending, ends),
            self.state.searches[search].hypotheses, first.output_tokens + 1, self.state.next_request,
        )  # fmt: skip

    def _say_processed(self, beam: Request, row: BeamRow, emit: Emit) -> None:
        where = {"request": beam.id, "position": beam.num_tokens}
        for done in row.processing.done:
            emit(self._event(ev.LogitsChanged, **where, plugin=done.plugin, change=done.change))
        for failure in row.processing.failed:
            emit(self._event(ev.PluginDisabled, **where | self._disabled(failure)))

    def _fork_beam(self, search: str, parent: Request, request: str, emit: Emit) -> None:
        """A beam that goes on with several tokens: `request` shares the blocks of its parent until it writes."""
        emit(
            self._event(
                ev.Forked, request=request, arrival=self.state.next_arrival, priority=parent.priority,
                sample=parent.sample, parent=parent.id, at_position=parent.num_tokens, appended=(),
                prompt_tokens=parent.prompt_tokens, params=parent.params, changed=("beam",), search=search,
            )
        )  # fmt: skip
        emit(self._event(ev.Shared, request=request, source=parent.id))

    def _end_beams(self, continued: Continued, beams: Sequence[Request], emit: Emit) -> None:
        """`finished` of the outputs that ended, and of the beams that nothing goes on from."""
        for each in continued.candidates:
            if each.fate == "ended":
                request = self.state.requests[each.request]
                stop = stop_after(request, each.token, self.limits, None)
                assert stop is not None
                self._end(request, stop, emit)
        goes_on = {each.request for each in continued.candidates}
        for beam in beams:
            if beam.id not in goes_on:
                emit(
                    self._event(
                        ev.Finished, request=beam.id, reason="stop", detail="beam_dropped",
                        output_tokens=beam.output_tokens,
                    )
                )  # fmt: skip


def with_beams(details: DetailsOf, made: Sequence[Continuation]) -> DetailsOf:
    """The details of a step's tokens, those of its beams last, as they are said."""
    return BeamDetails(details, made) if made else details
