"""What the tables of a record say of one step's tokens, beside its events: it has to agree with them too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from engine import events as ev
from engine.details import TokenDetails
from sessions.reader import Session
from sessions.records import TokenRow
from sessions.replay_difference import Difference
from sessions.request_rows import signed

Place = tuple[str, int]  # request and position


class StepRows(NamedTuple):
    """The rows of `tokens`, and the packed details, of the tokens that a step chooses."""

    tokens: Mapping[Place, TokenRow]
    details: Mapping[Place, TokenDetails]

    @staticmethod
    def read(session: Session, step: int, branch: int, said: Sequence[ev.Event]) -> StepRows:
        """The rows of the tokens among what was `said`."""
        chosen = [event for event in said if isinstance(event, ev.Token)]
        rows = (session.token(event.request, event.position, branch) for event in chosen)
        details = session.details_of_step(step, branch)
        return StepRows(
            {(row.request, row.position): row for row in rows if row is not None},
            {(about.request, about.position): about for about in details},
        )

    def hashes(self, place: Place) -> list[int]:
        """The hashes of a token's logits, as signed integers: none where none was recorded."""
        found = []
        if (row := self.tokens.get(place)) is not None and row.logits_hash is not None:
            found.append(row.logits_hash)
        if (about := self.details.get(place)) is not None:
            found.append(signed(about.logits_hash))
        return found

    def compare(self, said: Sequence[ev.Event]) -> Difference | None:
        """The first token of the table `tokens` that is not the one that was said."""
        for event in said:
            if isinstance(event, ev.Token):
                row = self.tokens.get((event.request, event.position))
                if row is None:
                    return _different(event, "token", "no row", str(event.token))
                if row.token != event.token:
                    return _different(event, "token", str(row.token), str(event.token))
                if row.draw != event.draw:
                    return _different(event, "draw", str(row.draw), str(event.draw))
        return None


def _different(event: ev.Token, field: str, expected: str, actual: str) -> Difference:
    return Difference(
        event.step,
        event.request,
        event.position,
        field,
        expected,
        actual,
        kind=field,  # type: ignore[arg-type]
    )
