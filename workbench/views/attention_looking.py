"""Which inspection the Attention view needs, and which one it can show while that is on its way."""

from __future__ import annotations

from dataclasses import dataclass

from engine import protocol as pr
from workbench.bench import Scene
from workbench.inspections import Look
from workbench.views.captured import captured_attention
from workbench.views.looking import looked, why_not_looked
from workbench.views.subject import Subject

ROWS = 128  # of the large map, and of the small ones
FINE_GRID, COARSE_GRID = 24, 12
MANY_HEADS = 512


@dataclass
class Looking:
    """Asks for one row at a time, so that holding a key down does not queue up work for the engine.

    While an answer is on its way, the one before it stays: it says which row and head it is of.
    """

    under_way: Look | None = None
    shown: Look | None = None
    _kept: tuple[Look | None, pr.Inspection | None] = (None, None)

    def at(self, scene: Scene, subject: Subject) -> pr.Inspection | str:
        """The row of `subject`, perhaps with another head large; or why there is none (now)."""
        if (why := why_no_row(scene, subject)) is not None:
            return why
        wanted = wanted_look(scene, subject)
        if self.under_way is not None and scene.inspections.get(self.under_way).result is not None:
            self.shown, self.under_way = self.under_way, None
        answer = scene.inspections.get(wanted)
        if answer.state == "absent" and not self._busy(scene):
            answer = looked(scene, wanted)
            self.under_way = wanted
        if answer.result is not None:
            self.shown = wanted
            return answer.result
        if answer.state == "refused":
            if (captured := self._captured(scene, wanted)) is not None:
                return captured
            return (
                f"What a head attends to was not captured (--capture attn). {why_not_looked(answer.why, scene)}"
            )
        return self._meanwhile(scene, wanted) or f"Looking at row {wanted.position} again."

    def _captured(self, scene: Scene, wanted: Look) -> pr.Inspection | None:
        """The row as it was captured in the run, read once; what is not there yet may come while it grows."""
        if self._kept[0] != wanted or self._kept[1] is None:
            self._kept = (wanted, captured_attention(scene.record, wanted))
        return self._kept[1]

    def _busy(self, scene: Scene) -> bool:
        return self.under_way is not None and scene.inspections.get(self.under_way).state == "asked"

    def _meanwhile(self, scene: Scene, wanted: Look) -> pr.Inspection | None:
        """What was shown last, of the same request."""
        if self.shown is None or self.shown.request != wanted.request:
            return None
        return scene.inspections.get(self.shown).result


def wanted_look(scene: Scene, subject: Subject) -> Look:
    """What to ask the engine for."""
    shape, row = scene.record.about.shape, subject.row
    assert row is not None
    return Look(
        request=subject.request,
        position=row,
        layer=min(scene.selection.layer, shape.layers - 1),
        head=min(scene.selection.head, shape.heads - 1),
        rows=min(ROWS, row + 1),
        grid=FINE_GRID if shape.layers * shape.heads <= MANY_HEADS else COARSE_GRID,
    )


def why_no_row(scene: Scene, subject: Subject) -> str | None:
    """Why there is no row to look at, and the key that helps."""
    if subject.absent:
        return subject.absent
    if subject.row is None:
        return "Nothing comes before token 0, so no row chose it. o shows its own row, → the token after it."
    if subject.following and scene.engine.state == "running":
        return "The run goes on. c pauses it; then the row of the newest token is looked at."
    return None


__all__ = ["Looking", "wanted_look", "why_no_row"]
