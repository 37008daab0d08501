"""Why each token: its candidates, what every sampler stage made of them, and the draw on its interval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.details import TokenDetails
from engine.wording import removal
from sessions.export.excerpt import Excerpt
from sessions.export.report.packing import short
from sessions.export.report.texts import Texts


def choices_of(excerpt: Excerpt, texts: Texts) -> Iterator[tuple[str, dict[str, Any]]]:
    """The request and the choice, for every token chosen in these steps that has recorded details."""
    for step in excerpt.step_rows():
        for about in excerpt.details(step.step):
            yield about.request, choice(about, texts)


def choice(about: TokenDetails, texts: Texts) -> dict[str, Any]:
    """One token: columns over its candidates in order of raw logits, and the stages that ran."""
    columns = about.candidates
    return {
        "position": about.position,
        "chosen": columns.ids.index(about.token) if about.token in columns.ids else None,
        "text": texts.numbers(columns.ids),
        "raw": list(map(short, columns.raw)),
        "after": {
            stage: list(map(short, column))
            for stage, column in zip(about.transforms, columns.values, strict=True)
        },
        "prob": list(map(short, columns.prob)),
        "removed": [columns.removing_stage(place) for place in range(len(columns))],
        "why": [_why(about, place) for place in range(len(columns))],
        "stages": [[each.stage, each.setting, each.kept, each.threshold] for each in about.stages],
        "walk": walk(about),
    }


def walk(about: TokenDetails) -> list[tuple[int | None, float]] | None:
    """The intervals the draw falls on, from 0 to 1: the place of a candidate (None: several) and where it ends.

    The chosen token's interval is the recorded one. Those of the others are as wide as they are likely, in the
    order of the draw; with penalties, unrecorded candidates may stand between them. None for a greedy choice.
    """
    if about.interval is None:
        return None
    low, high = about.interval
    found: list[tuple[int | None, float]] = []
    edge, before = 0.0, True
    for place in (place for place in order(about) if not about.candidates.removed_by[place]):
        if about.candidates.ids[place] == about.token:
            if low > edge:
                found.append((None, low))
            edge, before = high, False
        else:
            edge = min(edge + about.candidates.prob[place], low if before else 1.0)
        found.append((place, edge))
    if edge < 1.0:
        found.append((None, 1.0))
    return found


def order(about: TokenDetails) -> list[int]:
    """The candidates by descending processed logit, ties by token id: the order in which the draw walks."""
    columns = about.candidates
    values = columns.values[-1] if columns.values else columns.raw
    return sorted(range(len(columns)), key=lambda place: (-values[place], columns.ids[place]))


def _why(about: TokenDetails, place: int) -> str | None:
    stage = about.candidates.removing_stage(place)
    if stage is None:
        return None
    result = next(each for each in about.stages if each.stage == stage)
    return removal(stage, about.candidates.number[place], result.threshold, result.setting)
