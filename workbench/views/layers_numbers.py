"""Numbers of tensors as the Layers view writes them."""

from __future__ import annotations

from engine.stage_report import Stats
from workbench.widgets.spans import Span

NONE = Span("–", "faint")


def number(value: float) -> str:
    """Four digits, whatever the size: `0.01234`, `-12.34`, `1.2e+06`, `NaN`."""
    return "NaN" if value != value else f"{value:.4g}"


def signed(value: float) -> str:
    """`+1.234`, `-0.056`: a share, its sign always there."""
    return "NaN" if value != value else f"{value:+.3f}"


def time_text(ns: int) -> str:
    """`850 ns`, `12.3 µs`, `4.56 ms`."""
    if ns < 1_000:
        return f"{ns} ns"
    return f"{ns / 1e3:.1f} µs" if ns < 1_000_000 else f"{ns / 1e6:.2f} ms"


def place_text(at: tuple[int, ...]) -> str:
    """`[0, 3, 17]`"""
    return f"[{', '.join(map(str, at))}]"


def odd(stats: Stats) -> str:
    """How many values are no numbers: `2 NaN`, `1 NaN 3 inf`; nothing where all are finite."""
    counts = ((stats.nans, "NaN"), (stats.infs, "inf"))
    return " ".join(f"{count} {name}" for count, name in counts if count)


__all__ = ["NONE", "number", "odd", "place_text", "signed", "time_text"]
