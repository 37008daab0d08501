"""StagePane: the sampler's table on the screen; a removed candidate's row ends where it was removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.segment import Segment
from textual.geometry import Offset

from workbench.views.tokens_facts import choice_notes
from workbench.views.tokens_stages import Candidate, Cell, Pipeline
from workbench.widgets.bars import bar_text
from workbench.widgets.cells import cell_len, fit
from workbench.widgets.cursor import CursorPane
from workbench.widgets.inks import Brush, Ink
from workbench.widgets.messages import MovedMessage

MARK, FELL, NUMBER = 2, 4, 8
WIDEST_TOKEN, NARROWEST_TOKEN = 18, 8
MEDIUM_TOKEN, ROOMY = 14, 90  # the widest token where the pane is narrower than ROOMY


class SideStep(MovedMessage):
    """Left or right was pressed where there is nothing to move to: the view moves to another token."""

    def __init__(self, pane: CursorPane, step: int) -> None:
        super().__init__(pane)
        self.step = step


class Columns(NamedTuple):
    """Cells of the columns; `stages` are the indices of those there is room for."""

    rank: int
    fell: int
    token: int
    stages: tuple[int, ...]
    bar: int


class StagePane(CursorPane):
    """Candidates down, stages across."""

    help_text = (
        "Why this token: a row for each of the 20 candidates with the largest logits, and a column for each "
        "stage of the sampler, in the order they ran, with the logit after it. The cross says which stage "
        "removed a candidate, and the numbers that decided. ▶ is the chosen one. 'left' counts the candidates "
        "after each stage; ◆ is the token that stands there in the run, where other settings are tried. "
        "↑ ↓ select a candidate, ← → go to the token before and after, y copies the row."
    )

    def __init__(
        self,
        *,
        empty: str = "No sampler stages.",
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(empty=empty, id=id, classes=classes)
        self.pipeline: Pipeline | None = None
        self.bottom_lines = 1

    def set_pipeline(self, pipeline: Pipeline | None) -> None:
        """Show another token's candidates, the cursor on the chosen one."""
        self.pipeline = pipeline
        self.top_lines = 1 if pipeline is None or not pipeline.stages else 3
        self.cursor = 0 if pipeline is None else pipeline.chosen
        self.items_changed()
        if pipeline is not None and self.is_attached:
            self.show_line(0)
            self.show_line(self.cursor)

    @property
    def token(self) -> int | None:
        """The token under the cursor."""
        return self.pipeline.rows[self.cursor].token if self.pipeline else None

    def item_count(self) -> int:
        return len(self.pipeline) if self.pipeline else 0

    def move(self, step: Offset) -> None:
        if step.x:
            self.post_message(SideStep(self, step.x))
        else:
            super().move(step)

    # Geometry

    @property
    def columns(self) -> Columns:
        """How the columns share the width: the token shrinks first, then the earliest transforms go."""
        assert self.pipeline is not None
        rows = self.pipeline.rows
        rank = max(4, max(len(str(row.rank)) for row in rows))
        fell = FELL if self.pipeline.moves else 0
        numbers = 2 + (self.pipeline.before is not None)
        stages = list(range(len(self.pipeline.stages)))
        widest = WIDEST_TOKEN if self.body_width >= ROOMY else MEDIUM_TOKEN
        wanted = min(widest, max(cell_len(row.text) for row in rows))
        left = self.body_width - MARK - rank - fell - 2 - numbers * NUMBER
        while stages and left - NARROWEST_TOKEN < len(stages) * NUMBER:
            stages.pop(0)
        left -= len(stages) * NUMBER
        token = max(1, min(max(wanted, NARROWEST_TOKEN), left))
        return Columns(rank, fell, token, tuple(stages), max(0, left - token - 2))

    # Drawing

    def head_lines(self) -> Sequence[list[Segment]]:
        assert self.pipeline is not None
        columns = self.columns
        shown = [self.pipeline.stages[index] for index in columns.stages]
        hidden = len(self.pipeline.stages) - len(shown)
        was = ["was"] if self.pipeline.before is not None else []
        mark = f"+{hidden}" if hidden else ""
        names = self._head("rank", "token", ["logit", *(each.name for each in shown), "prob", *was], mark)
        if self.top_lines == 1:
            return [names]
        settings = ["", *(each.setting for each in shown)]
        left = [f"{self.pipeline.vocab_size:,}", *(f"{each.kept:,}" for each in shown)]
        return [names, self._head("", "", settings), self._head("", "left", left)]

    def _head(self, rank: str, token: str, numbers: Sequence[str], mark: str = "") -> list[Segment]:
        columns = self.columns
        text = fit(rank, columns.rank, "right") + " " * (columns.fell + 1) + fit(token, columns.token)
        text += "".join(fit(number, NUMBER, "right") for number in numbers)
        return [self.brush.segment(fit(mark, MARK), "warn"), self.brush.segment(text, "header")]

    def body_line(self, index: int) -> list[Segment]:
        assert self.pipeline is not None
        row, columns = self.pipeline.rows[index], self.columns
        brush = self.brush.over(self.cursor_ink) if index == self.cursor else self.brush
        segments = [
            brush.segment(fit(self._mark(row), MARK), "selected-mark"),
            brush.segment(fit(str(row.rank), columns.rank, "right"), "dim"),
            *self._fell(row, columns, brush),
            brush.segment(" "),
            brush.segment(fit(row.text, columns.token, ellipsis=self.glyphs.ellipsis), _token_ink(row)),
            brush.segment(fit(row.logit, NUMBER, "right"), "dim" if row.removed else "text"),
        ]
        segments += self._stages(row, columns, brush)
        used = sum(segment.cell_length for segment in segments)
        if row.removed:
            reason = self._reason(row, max(0, self.body_width - used))
            return [*segments, brush.segment(reason, "bad")]
        return segments + self._probability(row, columns, brush, self.body_width - used)

    def _reason(self, row: Candidate, room: int) -> str:
        """What removed the candidate; the word that can be missed goes first."""
        reason = f"{self.glyphs.cross} {row.why}"
        if cell_len(reason) > room:
            reason = reason.replace("cumulative ", "")
        return fit(reason, room, ellipsis=self.glyphs.ellipsis)

    def _mark(self, row: Candidate) -> str:
        assert self.pipeline is not None
        if row.chosen:
            return self.glyphs.cursor
        return self.glyphs.crosshair if row.token == self.pipeline.other else ""

    def _fell(self, row: Candidate, columns: Columns, brush: Brush) -> list[Segment]:
        if not columns.fell:
            return []
        mark = self.glyphs.down if row.fell > 0 else self.glyphs.up
        text = f"{mark}{abs(row.fell)}" if row.fell else ""
        return [brush.segment(fit(text, columns.fell, "right"), "changed")]

    def _stages(self, row: Candidate, columns: Columns, brush: Brush) -> list[Segment]:
        """The cells up to the stage that removed the candidate."""
        assert self.pipeline is not None
        segments = []
        for index in columns.stages:
            if index >= len(row.cells) or row.cells[index].removed:
                break
            segments.append(self._cell(row.cells[index], row.removed, brush))
        if row.removed:
            segments.append(brush.segment(" " * 2))
        return segments

    def _cell(self, cell: Cell, removed: bool, brush: Brush) -> Segment:
        if not cell.text:
            return brush.segment(fit(self.glyphs.free, NUMBER, "right"), "faint")
        if not cell.moved:
            return brush.segment(fit(cell.text, NUMBER, "right"), "dim" if removed else "text")
        mark = self.glyphs.up if cell.moved > 0 else self.glyphs.down
        return brush.segment(fit(f"{mark}{cell.text}", NUMBER, "right"), "changed")

    def _probability(self, row: Candidate, columns: Columns, brush: Brush, room: int) -> list[Segment]:
        assert self.pipeline is not None
        segments = [brush.segment(fit(percent(row.probability), NUMBER, "right"), "strong")]
        if self.pipeline.before is not None:
            segments.append(self._was(row, brush))
        room -= sum(segment.cell_length for segment in segments)
        if room < 4:
            return [*segments, brush.segment(" " * max(0, room))]
        bar = bar_text(row.probability, columns.bar, brush.glyphs)
        ink: Ink = "changed" if row.chosen else "accent"
        if note := self._note(row, room - 3 - len(bar.rstrip())):
            bar = f"{bar.rstrip()} "
            segments += [brush.segment("  "), brush.segment(bar, ink), brush.segment(note, "changed")]
        else:
            segments += [brush.segment("  "), brush.segment(bar, ink)]
        used = sum(segment.cell_length for segment in segments[1 + (self.pipeline.before is not None) :])
        return [*segments, brush.segment(" " * max(0, room - used))]

    def _was(self, row: Candidate, brush: Brush) -> Segment:
        assert self.pipeline is not None
        was = self.pipeline.was(row.token)
        if was is None:
            return brush.segment(fit("?", NUMBER, "right"), "faint")
        text = fit(percent(was) if was else self.glyphs.cross, NUMBER, "right")
        return brush.segment(text, "dim" if percent(was) == percent(row.probability) else "warn")

    def _note(self, row: Candidate, room: int) -> str:
        """What to say behind the bar of the chosen candidate, as much as there is room for."""
        assert self.pipeline is not None
        if not row.chosen:
            return ""
        notes = choice_notes(self.pipeline.details)
        return next((note for note in notes if cell_len(note) <= room), "")

    def foot_lines(self) -> Sequence[list[Segment]]:
        assert self.pipeline is not None
        text = fit(f"  {self.pipeline.rest}", self.body_width, ellipsis=self.glyphs.ellipsis)
        return [[self.brush.segment(text, "dim")]]

    def copy_text(self) -> str:
        return row_text(self.pipeline, self.cursor) if self.pipeline else ""


def percent(probability: float) -> str:
    """A probability with as many digits as say something: `0.5526`, `0.0004`, `3e-07`."""
    return f"{probability:.4f}" if probability >= 5e-5 or not probability else f"{probability:.0e}"


def row_text(pipeline: Pipeline, index: int) -> str:
    """One candidate with everything that happened to it, in one line."""
    row = pipeline.rows[index]
    cells = [
        f"{stage.name} {stage.setting} {cell.text or 'kept'}"
        for stage, cell in zip(pipeline.stages, row.cells, strict=False)
        if not cell.removed
    ]
    if row.removed:
        cells.append(f"✗ {pipeline.stages[len(row.cells) - 1].name}: {row.why}")
    else:
        cells.append(f"prob {percent(row.probability)}")
    if row.fell:
        cells.append(f"moved {row.fell:+d} in order")
    return f"rank {row.rank}  {row.text}  logit {row.logit}  " + "  ".join(cells)


def _token_ink(row: Candidate) -> Ink:
    if row.removed:
        return "removed"
    return "strong" if row.chosen else "text"


__all__ = ["SideStep", "StagePane", "percent", "row_text"]
