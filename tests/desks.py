"""A desk on a recording that no engine is behind: what the models of the views are made from."""

from __future__ import annotations

from workbench.bench import EngineStatus
from workbench.desk import Desk
from workbench.inspections import Inspections
from workbench.record import Record


def desk_on(record: Record, step: int | None = None) -> Desk:
    """A desk that looks at the end of `step`, the newest by default."""
    desk = Desk(record, lambda: EngineStatus("none"), Inspections(lambda _: 0, lambda: "no engine"))
    if step is not None:
        desk.seek(step)
    return desk
