"""Selection: the one thing every view shows more of, kept when views change."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Selection:
    """What is selected; views change it by `dataclasses.replace` through `Bench.select`.

    `position` is a token's 0-based position in prompt + output. A token has two rows: the one that chose it
    (`position` - 1, shown by default) and its own (its KV; `own_row`). `step` is the moment the selected
    thing belongs to (a token's `chosen_step`, an event's step): the timeline and the Gantt mark it, and
    `enter` moves the clock there. It is not the clock.
    """

    request: str | None = None
    position: int | None = None
    own_row: bool = False
    step: int | None = None
    layer: int = 0
    head: int = 0
    block: int | None = None
    node: int | None = None

    @property
    def row(self) -> int | None:
        """The input row to show: whose logits, sampler stages and attention; None where there is none."""
        if self.position is None:
            return None
        row = self.position if self.own_row else self.position - 1
        return row if row >= 0 else None

    @property
    def row_name(self) -> str:
        """Which of a token's two rows is shown, in words."""
        return "own row" if self.own_row else "choosing row"


__all__ = ["Selection"]
