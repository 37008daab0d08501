"""Which panes of the Tokens view there is room for, the least important left out first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.geometry import Size

NARROW = 112  # below, the text stands above the stages
COURSE_HEIGHT, FACTS_HEIGHT, DRAW_HEIGHT = 30, 20, 24  # the least height of the view for these panes
NARROW_FACTS_HEIGHT, NARROW_DRAW_HEIGHT = 30, 22  # and where the text stands above them
BOTH_HEIGHT = 46  # for recorded and reworked stages one above the other


@dataclass(frozen=True, slots=True)
class Wanted:
    """What there is to show."""

    choice: bool = False  # a token with recorded stages
    draw: bool = False  # it was drawn
    trying: bool = False  # other settings are tried
    redraw: bool = False  # and would be drawn from


def shown(wanted: Wanted, size: Size) -> dict[str, bool]:
    """Whether each pane is on the screen, by its CSS id."""
    narrow, height = size.width < NARROW, size.height
    facts = height >= (NARROW_FACTS_HEIGHT if narrow else FACTS_HEIGHT)
    draw = height >= (NARROW_DRAW_HEIGHT if narrow else DRAW_HEIGHT)
    return {
        "tokens-text": not (narrow and wanted.trying),
        "tokens-course": not narrow and not wanted.trying and height >= COURSE_HEIGHT,
        "tokens-settings": wanted.trying,
        "tokens-facts": wanted.choice and facts,
        "tokens-stages": not wanted.trying or (wanted.choice and height >= BOTH_HEIGHT),
        "tokens-what-if": wanted.trying,
        "tokens-draw": wanted.draw and draw,
        "tokens-redraw": wanted.trying and wanted.redraw and draw,
    }


def left_out(wanted: Wanted, size: Size) -> Sequence[str]:
    """What a larger window would show too."""
    on = shown(wanted, size)
    there = {
        "tokens-course": ("the chart", not wanted.trying),
        "tokens-facts": ("the facts", wanted.choice),
        "tokens-stages": ("the recorded stages", wanted.trying and wanted.choice),
        "tokens-draw": ("the draw", wanted.draw),
    }
    return [name for pane, (name, wish) in there.items() if wish and not on[pane]]


__all__ = ["NARROW", "Wanted", "left_out", "shown"]
