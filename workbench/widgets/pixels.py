"""Rows of levels as segments: half blocks or whole cells in colour, text where colour cannot carry them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.segment import Segment

from workbench.widgets.glyphs import Glyphs
from workbench.widgets.ramp import LEVELS, cell_style, pair_style


@dataclass(frozen=True, slots=True)
class PixelPen:
    """Draws levels on a dark or light screen; `text` says that glyphs, not colours, carry the level."""

    glyphs: Glyphs
    dark: bool
    text: bool

    @property
    def rows_per_line(self) -> int:
        """How many rows of levels one line can hold."""
        return 1 if self.text or not self.glyphs.half_blocks else 2

    def halves(self, top: Sequence[int], bottom: Sequence[int], width: int = 1) -> Iterable[Segment]:
        """Yield two rows as one line of half blocks, each level `width` cells wide, equal neighbours merged."""
        for (upper, lower), run in groupby(zip(top, bottom, strict=True)):
            yield Segment("▀" * (width * len(list(run))), pair_style(self.dark, upper, lower))

    def cells(self, row: Sequence[int], width: int = 1) -> Iterable[Segment]:
        """Yield one row as one line, each level `width` cells wide, equal neighbours merged."""
        for level, run in groupby(row):
            yield self.cell(level, width * len(list(run)))

    def cell(self, level: int, width: int, text: str = "") -> Segment:
        """Return `width` cells at `level`, with `text` (already that wide) on them."""
        if self.text:
            return Segment(text or self.mark(level) * width)
        plain = " " if self.glyphs.half_blocks else self.mark(level)
        return Segment(text or plain * width, cell_style(self.dark, level))

    def mark(self, level: int) -> str:
        """Return the glyph of a level on the text ramp."""
        ramp = self.glyphs.ramp
        return ramp[level * (len(ramp) - 1) // (LEVELS - 1)]
