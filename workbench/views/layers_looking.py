"""Which row the Layers view looks at, and what it can show of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.model.stage_names import points
from engine.protocol import LayersSeen
from engine.stage_report import Passed, Stats, Values
from engine.wording import plural
from workbench.bench import Scene
from workbench.inspections import LayerLook
from workbench.views.attention_looking import why_no_row
from workbench.views.captured import captured_residuals
from workbench.views.layers_pass import Pass, Seen, StageLine
from workbench.views.looking import why_not_looked
from workbench.views.provenance import recomputed
from workbench.views.subject import Subject
from workbench.views.tokens_whatif import worst_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]


@dataclass
class LayerLooking:
    """Asks for one row at a time; while an answer is on its way, the one before it stays."""

    under_way: LayerLook | None = None
    shown: LayerLook | None = None

    def at(self, scene: Scene, subject: Subject, token: int | None) -> LayersSeen | str:
        """The row of `subject`, the logit of `token` taken apart; or why there is none (now)."""
        if (why := why_no_row(scene, subject)) is not None:
            return why
        assert subject.row is not None
        looks, wanted = scene.inspections.layers, LayerLook(subject.request, subject.row, token)
        if self.under_way is not None and looks.get(self.under_way).result is not None:
            self.shown, self.under_way = self.under_way, None
        answer = looks.get(wanted)
        if answer.state == "absent" and not self._busy(scene):
            answer = looks.ask(wanted)
            self.under_way = wanted
        if answer.result is not None:
            self.shown = wanted
            return answer.result
        if answer.state == "refused":
            return why_not_looked(answer.why, scene)
        return self._meanwhile(scene, wanted) or f"Looking at row {wanted.position} again."

    def _busy(self, scene: Scene) -> bool:
        return self.under_way is not None and scene.inspections.layers.get(self.under_way).state == "asked"

    def _meanwhile(self, scene: Scene, wanted: LayerLook) -> LayersSeen | None:
        """What was shown last, of the same request."""
        if self.shown is None or self.shown.request != wanted.request:
            return None
        return scene.inspections.layers.get(self.shown).result


def compared(scene: Scene, found: LayersSeen) -> str:
    """How far the logits of the row are from those that were recorded."""
    import numpy as np

    recorded = scene.record.details(found.request, found.position + 1)
    worst = None if recorded is None else worst_of(np.frombuffer(found.logits, "<f4"), recorded)
    return recomputed(worst, scene.glyphs)


def captured_pass(scene: Scene, subject: Subject) -> Pass | None:
    """What was captured of the row's residual stream, where no engine can be asked."""
    kept = captured_residuals(scene.record, subject.request, subject.choice)
    if not kept:
        return None
    lines, seen = [], {}
    for layer, stage in points(scene.record.about.shape.layers):
        row = kept.get(layer) if stage == "resid_post" else None
        lines.append(StageLine(layer, stage) if row is None else _line(layer, stage, row))
        if row is not None:
            values = Values(0, 1, 1, 0, len(row), 1, row.tobytes())
            seen[layer, stage] = Seen(f"layer {layer} {stage}", (1, len(row)), values, subject.choice - 1)
    title = f"row {subject.row} of request {subject.request}: {plural(len(kept), 'layer')} captured"
    return Pass(title, "as captured in the run", lines, seen, {})


def _line(layer: int, stage: str, row: Floats) -> StageLine:
    stats = _stats(row)
    return StageLine(layer, stage, Passed(layer, stage, "float32", (1, len(row)), 0, (stats,)), stats)


def _stats(row: Floats) -> Stats:
    """The numbers of a row, over its finite values."""
    import numpy as np

    finite = row[np.isfinite(row)].astype(np.float64)
    nans = int(np.isnan(row).sum())
    infs = len(row) - len(finite) - nans
    if not len(finite):
        nan = float("nan")
        return Stats(nan, nan, nan, nan, nan, nan, (), nans, infs)
    at = int(np.abs(np.where(np.isfinite(row), row, 0)).argmax())
    norm = float(np.linalg.norm(finite))
    return Stats(
        float(finite.mean()), norm / len(finite) ** 0.5, float(finite.min()), float(finite.max()), norm,
        float(row[at]), (0, at), nans, infs,
    )  # fmt: skip


__all__ = ["LayerLooking", "captured_pass", "compared"]
