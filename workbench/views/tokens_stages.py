"""The sampler as a table: a row for each recorded candidate, a column for each stage that ran."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from engine.details import FILTERS, LOG_SOFTMAX, Stage, TokenDetails
from engine.wording import removal

NAMES: Final[dict[Stage, str]] = {
    LOG_SOFTMAX: "log p",
    "logit_bias": "bias",
    "repetition": "repeat",
    "presence": "presence",
    "frequency": "freq",
    "temperature": "temp",
    "top_k": "top-k",
    "top_p": "top-p",
    "min_p": "min-p",
}


class StageColumn(NamedTuple):
    """A stage that ran: its name, the request's setting for it, and how many candidates it left."""

    name: str
    setting: str
    kept: int
    filters: bool


class Cell(NamedTuple):
    """A candidate after one stage; `moved` is the sign of what a transform did to its logit."""

    text: str
    moved: int = 0
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """One row. `cells` end with the stage that removed it, and `why` has the numbers of that."""

    token: int
    rank: int  # by raw logit, from 1
    fell: int  # by how many of the candidates on show it went down while transforms ran
    text: str
    logit: str
    cells: tuple[Cell, ...]
    why: str
    probability: float
    chosen: bool

    @property
    def removed(self) -> bool:
        return bool(self.why)


class Pipeline:
    """What the sampler did to the candidates of one token.

    Of a what-if, `before` are the recorded details, and `other` is the token that stands there in the run.
    """

    def __init__(
        self,
        details: TokenDetails,
        text: Callable[[int], str],
        vocab_size: int,
        before: TokenDetails | None = None,
        other: int | None = None,
    ) -> None:
        self.details = details
        self.other = other
        self.vocab_size = vocab_size
        self.before = before
        self._text = text

    def __len__(self) -> int:
        return len(self.details.candidates)

    @cached_property
    def stages(self) -> tuple[StageColumn, ...]:
        return tuple(
            StageColumn(
                NAMES.get(each.stage, each.stage), _setting(each.stage, each.setting), each.kept,
                each.stage in FILTERS,
            )
            for each in self.details.stages
        )  # fmt: skip

    @cached_property
    def rows(self) -> tuple[Candidate, ...]:
        return tuple(map(self._candidate, range(len(self))))

    @property
    def chosen(self) -> int:
        """The row of the token that was chosen."""
        return self.details.candidates.ids.index(self.details.token)

    def row_of(self, token: int) -> int | None:
        """The row of a token, where it is on show."""
        ids = self.details.candidates.ids
        return ids.index(token) if token in ids else None

    @property
    def kept(self) -> int:
        """How many candidates could be drawn."""
        stages = self.details.stages
        return stages[-1].kept if stages else self.vocab_size

    @property
    def moves(self) -> bool:
        """Whether some candidates on show changed places."""
        return any(row.fell for row in self.rows)

    @property
    def rest(self) -> str:
        """What is not on show, in words."""
        kept_here = sum(not row.removed for row in self.rows)
        more = self.kept - kept_here
        if self.details.draw is None:
            return f"{self.vocab_size - len(self):,} more candidates"
        kept = f"{self.kept:,} of {self.vocab_size:,} candidates kept"
        if more <= 0:
            return kept
        mass = max(0.0, 1.0 - sum(self.details.candidates.prob))
        return f"{kept}; {more:,} of them are not shown and hold {mass:.3g} of the probability"

    def was(self, token: int) -> float | None:
        """The recorded probability of a token, where a what-if is shown and it was recorded."""
        if self.before is None:
            return None
        candidates = self.before.candidates
        return candidates.prob[candidates.ids.index(token)] if token in candidates.ids else None

    def _candidate(self, index: int) -> Candidate:
        candidates = self.details.candidates
        token = candidates.ids[index]
        rank = self.details.rank if token == self.details.token else index + 1
        return Candidate(
            token=token,
            rank=rank,
            fell=self._places[index] - index,
            text=f"'{self._text(token)}'",
            logit=f"{candidates.raw[index]:.2f}",
            cells=tuple(self._cells(index)),
            why=self._why(index),
            probability=candidates.prob[index],
            chosen=token == self.details.token,
        )

    def _cells(self, index: int) -> Sequence[Cell]:
        candidates = self.details.candidates
        cells: list[Cell] = []
        value = candidates.raw[index]
        for column in candidates.values:
            stage = self.details.stages[len(cells)].stage
            moved = 0 if stage == "temperature" else (column[index] > value) - (column[index] < value)
            value = column[index]
            cells.append(Cell(f"{value:.2f}", moved))
        removing = candidates.removing_stage(index)
        for result in self.details.stages[len(cells) :]:
            cells.append(Cell("", removed=result.stage == removing))
            if result.stage == removing:
                break
        return cells

    def _why(self, index: int) -> str:
        candidates = self.details.candidates
        stage = candidates.removing_stage(index)
        if stage is None:
            return ""
        result = next(result for result in self.details.stages if result.stage == stage)
        return removal(stage, candidates.number[index], result.threshold, result.setting)

    @cached_property
    def _places(self) -> Sequence[int]:
        """Where each candidate on show stands among them after the transforms."""
        places = [0] * len(self)
        for place, index in enumerate(order(self.details)):
            places[index] = place
        return places


def order(details: TokenDetails) -> list[int]:
    """The candidates by descending processed logit, ties by token id: the order the draw walks."""
    candidates = details.candidates
    values = candidates.values[-1] if candidates.values else candidates.raw
    return sorted(range(len(candidates)), key=lambda index: (-values[index], candidates.ids[index]))


def _setting(stage: Stage, setting: float) -> str:
    if stage == LOG_SOFTMAX:
        return ""
    return f"×{setting:g}" if stage == "logit_bias" or stage not in NAMES else f"{setting:g}"


__all__ = ["NAMES", "Candidate", "Cell", "Pipeline", "StageColumn", "order"]
