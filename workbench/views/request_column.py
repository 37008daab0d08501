"""The column of request ids, as wide as the longest of them."""

from __future__ import annotations

from collections.abc import Iterable

from workbench.widgets.columns import Column

LEAST, MOST = 4, 10


def request_column(ids: Iterable[str]) -> Column:
    """A column for these ids."""
    longest = max(map(len, ids), default=0)
    return Column("req", min(MOST, max(LEAST, longest)), "right")


__all__ = ["request_column"]
