"""A tensor in numbers and in tiles: the same as numpy says, for ordinary values and for NaN and infinity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.stage_report import MOST_ROWS, MOST_VALUES, Window
from engine.stage_stats import pool_by_magnitude, stats_of, values_of

FLOATS = st.floats(-1e6, 1e6, width=32)
ANY = st.floats(width=32)
shapes = hnp.array_shapes(min_dims=1, max_dims=3, max_side=7)


@given(hnp.arrays(np.float32, shapes, elements=FLOATS))
def test_the_numbers_are_those_of_numpy(values: np.ndarray) -> None:
    found, exact = stats_of(torch.from_numpy(values)), values.astype(np.float64)
    np.testing.assert_allclose(
        [found.mean, found.rms, found.low, found.high, found.norm],
        [exact.mean(), np.sqrt((exact**2).mean()), exact.min(), exact.max(), np.linalg.norm(exact)],
        rtol=1e-9, atol=1e-9,
    )  # fmt: skip
    assert abs(found.largest) == np.abs(exact).max()
    assert exact[found.at] == found.largest
    assert (found.nans, found.infs) == (0, 0)


@given(hnp.arrays(np.float32, shapes, elements=ANY))
def test_what_is_not_finite_is_counted_and_left_out(values: np.ndarray) -> None:
    found, finite = stats_of(torch.from_numpy(values)), values[np.isfinite(values)].astype(np.float64)
    assert found.nans == np.isnan(values).sum()
    assert found.infs == np.isinf(values).sum()
    if finite.size:
        assert found.high == finite.max()
        assert values[found.at] == found.largest
    else:
        assert np.isnan(found.mean)
        assert found.at == ()


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=ANY), st.integers(1, 4),
    st.integers(1, 4),
)  # fmt: skip
def test_a_tile_shows_its_largest_value_with_its_sign(values: np.ndarray, rows: int, columns: int) -> None:
    pooled = pool_by_magnitude(torch.from_numpy(values), rows, columns).numpy()
    for (down, across), shown in np.ndenumerate(pooled):
        tile = values[down * rows : (down + 1) * rows, across * columns : (across + 1) * columns]
        if np.isnan(tile).any():
            assert np.isnan(shown)
        else:
            assert abs(shown) == np.abs(tile).max()
            assert shown in tile


def test_small_tensors_are_exact_and_large_ones_say_how_they_were_pooled() -> None:
    small = torch.arange(24.0).view(2, 3, 4)
    found = values_of(small)
    assert (found.rows, found.columns, found.exact) == (2, 12, True)
    np.testing.assert_array_equal(np.frombuffer(found.data, "<f4"), np.arange(24))
    large = values_of(torch.randn(MOST_ROWS * 2 + 1, 3000))
    assert (large.row_step, large.column_step, large.exact) == (3, 2, False)
    assert len(large.data) == 4 * large.tiles[0] * large.tiles[1] <= 4 * MOST_VALUES
    assert values_of(torch.randn(1, 14336)).exact, "a row of a large model is shown whole"
    assert len(values_of(torch.randn(1, 200_000)).data) <= 4 * MOST_VALUES


def test_a_window_shows_values_exactly() -> None:
    large = torch.randn(200, 3000)
    found = values_of(large, Window(150, 3, 2048, 9))
    assert found.exact
    shown = np.frombuffer(found.data, "<f4").reshape(3, 9)
    np.testing.assert_array_equal(shown, large[150:153, 2048:2057].numpy())


@pytest.mark.parametrize(
    "window", [Window(first_row=2), Window(rows=3), Window(first_column=-1), Window(0, 1, 9, 9)]
)
def test_a_window_outside_is_refused(window: Window) -> None:
    with pytest.raises(ValueError, match="are not all there: the stage has"):
        values_of(torch.zeros(2, 12), window)
