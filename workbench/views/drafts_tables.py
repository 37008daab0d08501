"""A request's drafts as lanes, ledgers and series, made from its rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.events import Residual, Verdict
from sessions.draft_rounds import Round
from sessions.draft_tally import Place, depths
from workbench.views.drafts_data import DraftRounds
from workbench.views.quant_tables import Rows
from workbench.widgets.columns import Column
from workbench.widgets.glyphs import Glyphs
from workbench.widgets.inks import Ink
from workbench.widgets.lanes import Lane
from workbench.widgets.spans import Bar, Line, Span

TextOf = Callable[[int], str]
WINDOW = 16
"""Rounds that the running rate of acceptance is over."""
_INKS: dict[str, Ink] = {"accepted": "good", "rejected": "bad", "unused": "faint"}


class DraftLanes:
    """The tokens that passes after the prefill gave, over what was drafted: = the same, + a bonus, x another."""

    def __init__(self, found: DraftRounds, text: TextOf, glyphs: Glyphs) -> None:
        self._found = found
        self._text = text
        self._glyphs = glyphs
        self._count = found.stop_position - self.first

    @property
    def key(self) -> object:
        return id(self._found)

    @property
    def first(self) -> int:
        """The position of the first token."""
        return self._found.rounds[0].position if self._found.rounds else self._found.prompt_tokens + 1

    def __len__(self) -> int:
        return self._count

    def number(self, index: int) -> int:
        return self.first + index

    def lane(self, index: int) -> Lane:
        at = self._found.round_at(self.first + index)
        assert at is not None
        one = self._found.rounds[at]
        number = self.first + index - one.position
        above = self._text(one.choices[number].token)
        if one.verified is None:
            return Lane(above)
        if number < one.accepted:
            return Lane(above, "=", "good", "good")
        if one.verified.bonus is not None:
            return Lane(above, "+", "accent", "accent")
        rejected = next((each for each in reversed(one.verified.drafts) if each.verdict == "rejected"), None)
        if rejected is None:
            return Lane(above)
        return Lane(above, f"{self._glyphs.cross}{self._text(rejected.token)}", "changed", "bad")


class LedgerRows(Rows):
    """One row for each draft of a round, and one for what came after the last that was looked at."""

    def __init__(self, one: Round, text: TextOf) -> None:
        assert one.verified is not None
        self.round = one
        self._text = text
        self._drafts = one.verified.drafts
        self._depths = depths(one)
        self._tree = bool(one.drafted and one.drafted.parents)

    @property
    def columns(self) -> Sequence[Column]:
        follows = (Column("at", 2, "right"),) if self._tree else ()
        return (
            *follows, Column("draft", least=6), Column("q", 6, "right"), Column("p", 6, "right"),
            Column("p/q", 6, "right", priority=1), Column("draw", 6, "right"), Column("verdict", 8),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self._drafts) + (self.end is not None)

    @property
    def end(self) -> str | None:
        """What the last row is; None where the output ended with an accepted draft."""
        verified = self.round.verified
        assert verified is not None
        if verified.residual is not None:
            return "residual"
        if verified.bonus is not None:
            return "bonus"
        return "target" if len(self.round.choices) > self.round.accepted else None

    def row(self, index: int) -> Sequence[Line]:
        depth = (Span(str(self._depths[index] + 1) if index < len(self._drafts) else "", "dim"),)
        cells = self._draft(self._drafts[index]) if index < len(self._drafts) else self._last()
        return (*(depth if self._tree else ()), *cells)

    def _draft(self, draft: Verdict) -> Sequence[Line]:
        ink = _INKS[draft.verdict]
        return (
            Span(f"'{self._text(draft.token)}'", ink), _number(draft.q), _number(draft.p),
            Span(_ratio(draft.ratio), "text"), _number(draft.draw), Span(draft.verdict, ink),
        )  # fmt: skip

    def _last(self) -> Sequence[Line]:
        choice = self.round.choices[-1]
        residual = self.round.verified.residual if self.round.verified else None
        draw = residual.draw if residual is not None else None
        token = Span(f"'{self._text(choice.token)}'", "accent" if self.end == "bonus" else "changed")
        return token, Span(""), _number(choice.own), Span(""), _number(draw), Span(str(self.end), token.ink)

    def index_of(self, position: int) -> int:
        """The row of the token at a position of the round."""
        number = position - self.round.position
        accepted = [index for index, each in enumerate(self._drafts) if each.verdict == "accepted"]
        return accepted[number] if number < len(accepted) else len(self) - 1


def _number(value: float | None) -> Span:
    return Span("–", "faint") if value is None else Span(f"{value:.4f}")


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}" if value < 10 else f"{value:.3g}"


class ResidualRows(Rows):
    """The likeliest tokens of what a rejection left of the target's distribution."""

    columns: Sequence[Column] = (Column("token", least=8), Column("prob", 7, "right"), Column("", least=6))

    def __init__(self, residual: Residual, text: TextOf) -> None:
        self._residual = residual
        self._text = text

    def __len__(self) -> int:
        return len(self._residual.ids)

    def row(self, index: int) -> Sequence[Line]:
        token, prob = self._residual.ids[index], self._residual.probs[index]
        ink: Ink = "changed" if token == self._residual.token else "text"
        return Span(f"'{self._text(token)}'", ink), Span(f"{prob:.4f}"), Bar(prob, ink)


class PlaceRows(Rows):
    """How often the first draft of a round was accepted, the second one, and so on."""

    columns: Sequence[Column] = (
        Column("draft", 5, "right"),
        Column("tried", 7, "right"),
        Column("accepted", 8, "right"),
        Column("rate", 5, "right"),
        Column("", least=6),
    )

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = [*places]

    def __len__(self) -> int:
        return len(self._places)

    def row(self, index: int) -> Sequence[Line]:
        place = self._places[index]
        return (
            Span(str(index + 1), "dim"), Span(f"{place.tried:,}"), Span(f"{place.accepted:,}"),
            Span(f"{place.rate:.0%}", "strong"), Bar(place.rate, "good"),
        )  # fmt: skip


class RoundSeries:
    """A number for each round."""

    def __init__(
        self, name: str, ink: Ink, rounds: Sequence[Round], limit: float, of: Callable[[int], float]
    ) -> None:
        self.name, self.ink, self.limit = name, ink, limit
        self._count = len(rounds)
        self._of = of

    def __len__(self) -> int:
        return self._count

    def values(self, start: int, stop: int) -> Sequence[float]:
        return [self._of(index) for index in range(start, min(stop, self._count))]

    def written(self, value: float) -> str:
        return f"{value:.0%}" if self.limit else f"{value:.0f}"


def course_of(found: DraftRounds) -> Sequence[RoundSeries]:
    """Tokens of each pass, and the share of drafts that was accepted in the latest rounds."""
    rounds = found.rounds

    def tokens(index: int) -> float:
        return 0.0 if rounds[index].forced else len(rounds[index].choices)

    def rate(index: int) -> float:
        latest = [each for each in rounds[max(0, index - WINDOW + 1) : index + 1] if each.verified is not None]
        drafted = sum(len(each.verified.drafts) for each in latest if each.verified is not None)
        return sum(each.accepted for each in latest) / drafted if drafted else 0.0

    return (
        RoundSeries("tokens", "accent", rounds, 0.0, tokens),
        RoundSeries("rate", "good", rounds, 1.0, rate),
    )


__all__ = ["DraftLanes", "LedgerRows", "PlaceRows", "ResidualRows", "course_of"]
