"""The Tokens view as plain text."""

from __future__ import annotations

from engine.details import TokenDetails
from workbench import astext
from workbench.bench import Scene
from workbench.views.subject import subject_of
from workbench.views.tokens_facts import NEAR_TIE, choice_lines, no_choice
from workbench.views.tokens_stages import Candidate, Pipeline
from workbench.widgets.cells import cut, fit

TOKEN, NUMBER = 18, 8


def tokens_text(scene: Scene, width: int) -> str:
    """Why the selected token was chosen: the facts, the stages, one candidate a line."""
    subject = subject_of(scene)
    if isinstance(subject, str):
        return "\n".join(astext.paragraphs([subject], width))
    record = scene.record
    choosable = not subject.absent and not subject.is_prompt and subject.choice < subject.count
    details = record.details(subject.request, subject.choice) if choosable else None
    title = astext.heading(f"request {subject.request} token {subject.choice}", width)
    if details is None:
        return "\n".join([title, *astext.paragraphs(no_choice(subject).splitlines(), width)])
    pipeline = Pipeline(details, record.token_text, record.about.shape.vocab_size)
    facts = astext.paragraphs(choice_lines(details, record.token_text), width)
    return "\n".join([title, *facts, *_tie(details), *_table(pipeline, width)])


def _tie(details: TokenDetails) -> list[str]:
    return [NEAR_TIE] if details.near_tie else []


def _table(pipeline: Pipeline, width: int) -> list[str]:
    names = "".join(fit(f"{stage.name} {stage.setting}", NUMBER + 4, "right") for stage in pipeline.stages)
    left = "".join(fit(f"{stage.kept:,}", NUMBER + 4, "right") for stage in pipeline.stages)
    head = f"  {'rank':>5} {fit('token', TOKEN)}{'logit':>{NUMBER}}{names}{'prob':>{NUMBER}}"
    kept = f"  {'':>5} {fit('left', TOKEN)}{pipeline.vocab_size:>{NUMBER},}{left}"
    rows = [_row(row) for row in pipeline.rows]
    return [cut(line.rstrip(), width) for line in (head, kept, *rows, f"  {pipeline.rest}")]


def _row(row: Candidate) -> str:
    mark = "▶ " if row.chosen else "  "
    start = f"{mark}{row.rank:>5} {fit(row.text, TOKEN)}{row.logit:>{NUMBER}}"
    cells = "".join(fit(cell.text or "·", NUMBER + 4, "right") for cell in row.cells if not cell.removed)
    end = f"  ✗ {row.why}" if row.removed else f"{row.probability:>{NUMBER}.4f}"
    return start + cells + end


__all__ = ["tokens_text"]
