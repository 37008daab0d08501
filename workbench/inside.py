"""Inside: a forward pass that is halted, put together from what the engine reported of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from engine.protocol import StageReport
from engine.stage_report import Part, Passed, Standing, Values

Place = tuple[int, str]


@dataclass(frozen=True)
class Inside:
    """The pass of `step`: the stages that were looked at, and where it stands.

    `closer` is a part of the standing stage's values that was asked for exactly. Without a `standing` the pass
    is before its first stage, or behind its last.
    """

    step: int
    parts: tuple[Part, ...] = ()
    passed: Mapping[Place, Passed] = field(default_factory=dict)
    standing: Standing | None = None
    closer: Values | None = None
    behind: bool = False

    @property
    def where(self) -> str:
        """The place in words."""
        if self.standing is None:
            return "behind the last stage" if self.behind else "before the first stage"
        return stage_name(self.standing.layer, self.standing.stage)

    def part(self, request: str | None) -> int | None:
        """Which part is that of `request`; None when the step does not compute it."""
        return next((at for at, part in enumerate(self.parts) if part.request == request), None)


def inside_after(before: Inside | None, report: StageReport) -> Inside | None:
    """What is known after a report; None when the step is over."""
    if report.over:
        return None
    if before is None or before.step != report.step or report.place == "before":
        before = Inside(report.step)
    passed = {**before.passed, **{(each.layer, each.stage): each for each in report.passed}}
    seen = replace(before, parts=report.parts, passed=passed, closer=None, behind=report.place == "behind")
    if _closer(before.standing, report.standing):
        assert report.standing is not None
        return replace(seen, closer=report.standing.values)
    return replace(seen, standing=report.standing)


def _closer(before: Standing | None, now: Standing | None) -> bool:
    """Whether this is a smaller part of the values that are known."""
    if before is None or now is None or before.values is None or now.values is None:
        return False
    same = (before.layer, before.stage, before.request) == (now.layer, now.stage, now.request)
    return same and (now.values.rows, now.values.columns) != (before.values.rows, before.values.columns)


def stage_name(layer: int, stage: str) -> str:
    """`layer 3 attn_out`, or `embed` for a stage of no layer."""
    return stage if layer < 0 else f"layer {layer} {stage}"


__all__ = ["Inside", "Place", "inside_after", "stage_name"]
