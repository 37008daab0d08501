"""Lanes keep every token on one line, however the text grew; bars count levels where they lie."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.widgets.glyphs import UNICODE
from workbench.widgets.gridbars import GridBars, level_marks
from workbench.widgets.lanes import Lane, Lanes, lane_width

LANES = st.lists(
    st.builds(Lane, st.text("ab ⏎宽", max_size=6), st.text("=x", max_size=4)), min_size=1, max_size=60
)


@dataclass
class Model:
    lanes: list[Lane]
    count: int

    @property
    def key(self) -> object:
        return id(self.lanes)

    def __len__(self) -> int:
        return self.count

    def lane(self, index: int) -> Lane:
        return self.lanes[index]

    def number(self, index: int) -> int:
        return index


def laid(pane: Lanes, lanes: list[Lane], count: int) -> list[range]:
    pane.set_model(Model(lanes, count))
    return [pane._tokens(line) for line in range(0, pane.line_count(), 2)]


@given(LANES, st.lists(st.integers(1, 60), max_size=5))
def test_lines_are_the_same_however_the_text_grew(lanes: list[Lane], counts: list[int]) -> None:
    grown = Lanes()
    for count in sorted(min(count, len(lanes)) for count in counts):
        laid(grown, lanes, count)
    lines = laid(grown, lanes, len(lanes))

    assert lines == laid(Lanes(), lanes, len(lanes))
    assert [index for line in lines for index in line] == [*range(len(lanes))]
    room = 4  # of a pane that was given no size
    assert all(len(line) == 1 or sum(lane_width(lanes[index]) for index in line) <= room for line in lines)


def test_a_cell_is_as_wide_as_the_wider_lane() -> None:
    assert lane_width(Lane("ab", "=")) == 2
    assert lane_width(Lane("", "")) == 1
    assert lane_width(Lane("宽", "xxx")) == 3


def test_levels_are_marked_and_counted() -> None:
    assert level_marks([0, 1, 2, 9, 12], UNICODE) == " ▲29+"


@pytest.mark.parametrize(
    ("index", "said"), [(0, "-0.50 to 0.50: 5 weights, 1 level"), (1, "0.50 to 1.50: 0 weights, no level")]
)
def test_a_bin_says_what_it_holds(index: int, said: str) -> None:
    bars = GridBars()
    bars.set_bins((5, 0, 1_000), -0.5, 2.5, (0.0, 2.0, 2.25))
    assert bars.bin_text(index) == said
    assert bars.bin_text(2) == "1.50 to 2.50: 1,000 weights, 2 levels"
    assert sum(bars._held()) == 3
