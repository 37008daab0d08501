"""How torch's threads wait for each other; said before torch is loaded, or it is not heard."""

from __future__ import annotations

import os

SPINS = "3000"  # some microseconds: about as long as the next operation of a step is away


def wait_passively() -> None:
    """Let idle OpenMP threads sleep after a moment instead of spinning for milliseconds.

    Measured with a 0.5B model on two cores: equal on a quiet machine, and half the time a token when anything
    else wants one of the cores (97 ms instead of 190 and more). What the user has set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
