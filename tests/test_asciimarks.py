"""Marks become ASCII without changing width or meaning."""

from __future__ import annotations

import pytest

from workbench.asciimarks import plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cumulative 0.93 ≥ 0.9 before it", "cumulative 0.93 >=0.9 before it"),
        ("need 3 ≤ 36 free", "need 3 <=36 free"),
        ("≈ recomputed, ~ pooled ×4…", "= recomputed, ~ pooled x4."),
    ],
)
def test_marks_keep_their_width_and_meaning(text: str, expected: str) -> None:
    assert plain(text) == expected
    assert len(plain(text)) == len(text)
