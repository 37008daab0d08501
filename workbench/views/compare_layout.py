"""Which panes of the Compare view are on the screen: there is room for them, and something to show."""

from __future__ import annotations

from collections.abc import Mapping

from textual.geometry import Size

NARROW = 100
COURSE_HEIGHT, COURSE_HEIGHT_BESIDE_STAGES = 28, 44


def shown(size: Size, *, comparing: bool, searched: bool) -> Mapping[str, bool]:
    """Panes by the end of their ids; `searched` says that stages were found."""
    narrow = size.width < NARROW
    least = COURSE_HEIGHT_BESIDE_STAGES if searched else COURSE_HEIGHT
    return {
        "facts": comparing and not (narrow and searched and size.height < COURSE_HEIGHT),
        "right": comparing,
        "layers": comparing and searched and not narrow,
        "stages": comparing and searched,
        "course": comparing and size.height >= least,
    }


def left_out(size: Size, *, comparing: bool, searched: bool) -> list[str]:
    """Panes that there is no room for."""
    if not comparing:
        return []
    room = shown(size, comparing=True, searched=searched)
    return [name for name in ("facts", "course", *(("layers",) if searched else ())) if not room[name]]


__all__ = ["NARROW", "left_out", "shown"]
