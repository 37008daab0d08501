"""How torch's threads wait for each other; said before torch is loaded, or it is not heard."""

from __future__ import annotations

import os


def wait_passively() -> None:
    """Let idle OpenMP threads sleep instead of spin.

    Measured with a 0.5B model on two cores: equal on a quiet machine, and six times faster when the screen or
    anything else wants one of the cores (96 ms a token instead of over 540). What the user has set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
