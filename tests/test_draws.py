"""Draws: the same everywhere, uniform, and unrelated to each other."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.draws import request_seed, uniform

POSITIONS = 20_000


@pytest.fixture(scope="module")
def draws() -> np.ndarray:
    return np.array([uniform(7, 0, position, "sample") for position in range(POSITIONS)])


def test_a_draw_is_fixed_for_ever():
    assert uniform(0, 0, 0, "sample") == 0.8623449603738942
    assert uniform(2**63, 3, 511, "residual") == 0.14837979357685094


def test_another_process_draws_the_same():
    code = "from engine.draws import *; print(uniform(42, 1, 9, 'accept'), request_seed(0, '3'))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == [str(uniform(42, 1, 9, "accept")), str(request_seed(0, "3"))]


@given(st.integers(), st.integers(0, 63), st.integers(0, 2**40))
def test_draws_are_in_the_unit_interval_with_53_bits(seed, sample, position):
    u = uniform(seed, sample, position, "sample")
    assert 0 <= u < 1
    assert (u * 2**53).is_integer()


def test_draws_are_uniform(draws):
    """Chi-square over 100 bins: mean 99, standard deviation 14."""
    counts, _ = np.histogram(draws, bins=100, range=(0, 1))
    expected = POSITIONS / 100
    assert ((counts - expected) ** 2 / expected).sum() < 99 + 5 * 14.1


@pytest.mark.parametrize("lag", [1, 2, 16])
def test_neighbouring_positions_are_independent(draws, lag):
    """Pairs of draws fill the unit square evenly: chi-square over 10 x 10 cells."""
    cells, _, _ = np.histogram2d(draws[:-lag], draws[lag:], bins=10, range=((0, 1), (0, 1)))
    expected = (POSITIONS - lag) / 100
    assert ((cells - expected) ** 2 / expected).sum() < 99 + 5 * 14.1


def test_every_part_of_the_key_counts():
    keys = [(1, 0, 0, "sample"), (0, 1, 0, "sample"), (0, 0, 1, "sample"), (0, 0, 0, "sample")]
    keys += [(0, 0, 0, "accept"), (0, 0, 0, "residual")]
    assert len({uniform(*key) for key in keys}) == len(keys)


def test_request_seeds_differ_and_fit_a_signed_64_bit_integer():
    seeds = {request_seed(engine, str(number)) for engine in (-1, 0, 1) for number in range(50)}
    assert len(seeds) == 150
    assert all(0 <= seed < 2**63 for seed in seeds)
