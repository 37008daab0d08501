"""Bytes and shares as people write them."""

from __future__ import annotations

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def written_bytes(count: float) -> str:
    """`3.0 KiB`, `48 KiB`, `512 B`: two digits at least, three at most."""
    unit = 0
    while abs(count) >= 1024 and unit < len(UNITS) - 1:
        count /= 1024
        unit += 1
    digits = 1 if unit and abs(count) < 10 else 0
    return f"{count:,.{digits}f} {UNITS[unit]}"


def share(part: float, whole: float) -> str:
    """`37%`; a trace is never written as nothing."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    return "<1%" if 0 < percent < 0.5 else f"{percent:.0f}%"


__all__ = ["share", "written_bytes"]
