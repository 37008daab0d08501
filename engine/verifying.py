"""Choosing where some requests verify drafts: row after row, as far as their drafts are accepted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engine.acceptance import Checked, verify
from engine.changed_logits import Processed
from engine.drafting import Draft
from engine.execution import Choice, Job, Processing
from engine.ranking import Row
from engine.sampling import Choices, Logits, SamplerRow, as_logits, choose

Scores = npt.NDArray[np.float32]
Process = Callable[[Row, Choice, Sequence[int]], Processing]
"""What logits processors change of a choice's row [vocab], when the tokens given stand before it."""
MakeRow = Callable[[Choice, Sequence[int], tuple[Processed, ...]], SamplerRow]
"""The sampler row that chooses what follows the tokens given."""


@dataclass(slots=True, eq=False)
class Verifying:
    """The choices of a job from its logits; `at[i]` are the rows of `logits` [rows, vocab] of choice i.

    Those are the row of its newest token, and then of each of its drafts.

    An entry for each token that was chosen: those of one choice together, in the order of the job's choices.
    """

    job: Job
    logits: Logits
    at: Sequence[Sequence[int]]
    process: Process
    make_row: MakeRow
    choices: Choices = field(default_factory=lambda: Choices([], [], []))
    rows: list[SamplerRow] = field(default_factory=list)
    used: list[int] = field(default_factory=list)
    """The row of `logits` behind each entry."""
    processing: list[Processing] = field(default_factory=list)
    checked: dict[str, Checked] = field(default_factory=dict)

    def run(self) -> None:
        """Choose. Raises SamplingError for a row that no token can be chosen from."""
        scores = as_logits(self.logits)
        for choice, at in zip(self.job.choices, self.at, strict=True):
            if choice.draft is None:
                self._choose(choice, scores[at[0]], at[0])
            else:
                self._verify(choice, choice.draft, scores, at)

    def _choose(self, choice: Choice, raw: Row, at: int) -> None:
        row = self._row(choice, raw, choice.tokens)
        chosen = choose(raw[None], [row])
        self._keep([row], chosen, [at])

    def _verify(self, choice: Choice, draft: Draft, scores: Scores, at: Sequence[int]) -> None:
        def raw_at(node: int, _depth: int) -> Row:
            row: Row = scores[at[1 + node]]
            return row

        def row_at(raw: Row, accepted: Sequence[int]) -> SamplerRow:
            return self._row(choice, raw, (*choice.tokens, *accepted))

        checked = verify(draft, raw_at, row_at)
        self.checked[choice.request] = checked
        nodes = (-1, *checked.path)[: len(checked.tokens)]
        chosen = Choices(checked.tokens, checked.draws, checked.trails)
        self._keep(checked.rows, chosen, [at[1 + node] for node in nodes])

    def _row(self, choice: Choice, raw: Row, tokens: Sequence[int]) -> SamplerRow:
        done = self.process(raw, choice, tokens)
        self.processing.append(done)
        return self.make_row(choice, tokens, done.done)

    def _keep(self, rows: Sequence[SamplerRow], chosen: Choices, used: Sequence[int]) -> None:
        self.rows += rows
        self.choices.tokens.extend(chosen.tokens)
        self.choices.draws.extend(chosen.draws)
        self.choices.trails.extend(chosen.trails)
        self.used.extend(used)
