"""The Gantt chart as text: the steps before the moment, a line for each request that lived in them."""

from __future__ import annotations

from workbench.bench import Scene
from workbench.views.scheduler_gantt import RequestLanes
from workbench.widgets.cells import cut
from workbench.widgets.gantt import Phase, looks
from workbench.widgets.track import Track, ruler

GUTTER = 10
MOST_LANES = 60


def gantt_lines(scene: Scene, width: int) -> list[str]:
    """As many steps as fit, ending with the moment's or soon after."""
    lanes, table = RequestLanes(scene.record), looks(scene.glyphs)
    track = Track(0, max(1, width - GUTTER)).showing(scene.moment.step, lanes.steps)
    stop = min(lanes.steps, track.first + track.steps)
    lines = ["step".ljust(GUTTER) + ruler(track, lanes.steps)]
    drawn = ((lanes.label(lane), lanes.phases(lane, track.first, stop)) for lane in range(len(lanes)))
    for label, phases in drawn:
        if any(phases) and len(lines) <= MOST_LANES:
            lines.append(label.ljust(GUTTER) + "".join(table[Phase(phase)].mark for phase in phases))
    names = (f"{look.mark} {look.name}" for look in table.values() if look.name)
    return [cut(line.rstrip(), width) for line in [*lines, "  ".join(names)]]


__all__ = ["gantt_lines"]
