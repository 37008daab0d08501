"""The parts that panes share: bars, columns, step tracks and pooling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.widget_gallery import StepMarks
from workbench.widgets.bars import bar_text, shares
from workbench.widgets.blockmap import CHANGED, LIT, BlockState, Cell, summarise
from workbench.widgets.cdfbar import interval
from workbench.widgets.columns import GAP, Column, place
from workbench.widgets.glyphs import ASCII, UNICODE, Glyphs
from workbench.widgets.pooling import highest, levels, max_pool, thumbnail
from workbench.widgets.sparkline import columns
from workbench.widgets.timeline import StepMark
from workbench.widgets.track import Track, ruler, zoomed
from workbench.widgets.zoomwindow import fitting

SETS = pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=lambda glyphs: glyphs.name)
amounts = st.lists(st.floats(0, 1e6), max_size=12)


@SETS
def test_a_bar_is_drawn_in_eighths(glyphs: Glyphs) -> None:
    assert bar_text(0.5, 4, glyphs) == glyphs.eighths[-1] * 2 + "  "
    assert bar_text(0, 4, glyphs) == "    "
    assert bar_text(1e-9, 4, glyphs).strip()
    assert bar_text(float("nan"), 4, glyphs) == "    "
    assert bar_text(7, 4, glyphs) == glyphs.eighths[-1] * 4


def test_a_bar_can_show_its_track() -> None:
    assert bar_text(0.61, 10, UNICODE, track=True) == "██████▏░░░"


@given(amounts, st.integers(1, 80))
def test_shares_never_exceed_the_width_and_show_every_amount_there_is_room_for(
    parts: list[float], width: int
) -> None:
    cells = shares(parts, sum(parts), width)
    assert sum(cells) <= width
    assert all(cell >= 0 for cell in cells)
    if len(parts) <= width // 2:
        assert all(cell > 0 for part, cell in zip(parts, cells, strict=True) if part > 0) or sum(cells) == width


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 4)), min_size=1, max_size=8),
    st.integers(1, 120),
)
def test_columns_fill_the_width_or_drop_the_least_important(specs: list[tuple[int, int]], width: int) -> None:
    table = [Column(str(index), size, priority=priority) for index, (size, priority) in enumerate(specs)]
    placed = place(table, width)
    kept = {item.index for item in placed}
    assert {index for index, column in enumerate(table) if column.priority == 0} <= kept
    used = sum(item.width for item in placed) + GAP * max(0, len(placed) - 1)
    if any(not item.column.width for item in placed):
        assert used >= width or used == width
    dropped = [column.priority for index, column in enumerate(table) if index not in kept]
    staying = [item.column.priority for item in placed]
    assert not dropped or max(staying, default=0) <= min(dropped) or used <= width


@given(st.integers(1, 5000), st.integers(1, 200), st.integers(-6, 3), st.data())
def test_a_track_shows_the_step_it_is_asked_for(total: int, cells: int, zoom: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, total - 1))
    track = zoomed(max(cells, 8), zoom).showing(step, total)
    cell = track.cell_of(step)
    assert 0 <= cell < track.cells
    start, stop = track.span(cell)
    assert start <= step < stop


def test_a_ruler_names_round_steps_over_their_cells() -> None:
    text = ruler(Track(30, 20), 45)
    assert text.index("30") == 0
    assert text.index("40") == 10
    assert len(text) == 20


def test_a_chart_never_hides_a_small_value() -> None:
    assert columns([0, 0.001, 4, 8], 8, 2, UNICODE) == ["   █", " ▁██"]


def test_pooling_keeps_the_largest_value_and_ignores_masked_ones() -> None:
    values = np.zeros((5, 7))
    values[4, 6] = 9
    values[0, 0] = np.nan
    pooled = max_pool(values, 2, 3)
    assert pooled.shape == (3, 3)
    assert pooled[2, 2] == 9
    assert pooled[0, 0] == 0
    assert np.isnan(max_pool(np.full((2, 2), np.nan), 2, 2)).all()


def test_levels_span_the_ramp_and_masked_values_are_at_its_foot() -> None:
    assert levels(np.array([[0.0, 0.5, 1.0, np.nan]]), 0, 1).tolist() == [[0, 32, 63, 0]]
    assert levels(np.array([[0.25]]), 0, 1, "sqrt").tolist() == [[32]]
    assert levels(np.array([[3.0]]), 2, 2).tolist() == [[0]]


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (100, 9)])
def test_thumbnails_have_the_size_asked_for_and_keep_the_peak(shape: tuple[int, int]) -> None:
    values = np.zeros(shape)
    values[-1, -1] = 5
    small = thumbnail(values, 6, 12)
    assert small.shape == (6, 12)
    assert highest(small) == 5


def test_a_cell_of_many_blocks_shows_the_commonest_use_and_every_flag() -> None:
    blocks = bytes([0, 0, BlockState.OWNED | CHANGED, BlockState.OWNED, BlockState.CACHED, 0 | LIT])
    assert summarise(blocks, 6) == [Cell(BlockState.OWNED, 0.5, True, True)]
    assert [cell.state for cell in summarise(blocks, 1)] == [0, 0, 2, 2, 1, 0]
    assert summarise(bytes(3), 3) == [Cell(BlockState.FREE, 0.0, False, False)]


def test_the_strongest_mark_of_many_steps_shows() -> None:
    marks = StepMarks(bytes([StepMark.DECODE, StepMark.EVICTED, StepMark.PREFILL]))
    assert marks.strongest(0, 3) is StepMark.EVICTED
    assert marks.strongest(2, 3) is StepMark.PREFILL
    assert marks.strongest(3, 9) is StepMark.IDLE


@SETS
def test_intervals_mark_both_ends(glyphs: Glyphs) -> None:
    assert len(interval(1, glyphs)) == 1
    assert interval(5, UNICODE) == "├───┤"


@given(
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.integers(1, 50),
    st.integers(1, 120),
    st.integers(0, 6),
    st.data(),
)
def test_a_zoom_window_holds_the_value_it_is_asked_for(
    shape: tuple[int, int], lines: int, cells: int, zoom: int, data: st.DataObject
) -> None:
    row, column = data.draw(st.integers(0, shape[0] - 1)), data.draw(st.integers(0, shape[1] - 1))
    window = fitting(shape, lines, cells, 2, zoom).holding(row, column, shape)
    assert 0 <= window.column_of(column) < window.columns
    assert window.columns * window.cell_width <= cells
    line = (row // window.rows_pooled - window.top) // window.rows_per_line
    assert 0 <= line < lines
    at = window.value_at(line, window.column_of(column) * window.cell_width)
    assert 0 <= row - at[0] < window.rows_pooled * window.rows_per_line
    assert 0 <= column - at[1] < window.columns_pooled
    if not zoom:
        assert (window.top, window.left) == (0, 0)
