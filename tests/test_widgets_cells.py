"""Text keeps its width in cells, whatever is in it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.widget_gallery import NASTY
from workbench.widgets.cells import chunks, cut, fit, safe
from workbench.widgets.spans import Bar, Span, plain
from workbench.widgets.tokenlayout import TokenLayout
from workbench.widgets.wrap import wrap

nasty_text = st.lists(st.sampled_from(NASTY) | st.text(max_size=6), max_size=8).map("".join)


@pytest.mark.parametrize("text", NASTY)
def test_safe_text_holds_nothing_that_moves_the_cursor_or_reorders_the_line(text: str) -> None:
    kinds = {unicodedata.category(character) for character in safe(text)}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(nasty_text)
def test_safe_text_is_as_wide_as_its_characters(text: str) -> None:
    """Nothing joins two characters into one glyph, so pieces can be cut anywhere."""
    assert cell_len(safe(text)) == sum(cell_len(character) for character in safe(text))


@given(nasty_text)
def test_safe_text_can_be_written_to_a_terminal(text: str) -> None:
    safe(text).encode("utf-8")


@given(nasty_text, st.integers(0, 30), st.sampled_from(["left", "right", "center"]))
def test_fit_is_exact(text: str, width: int, align: str) -> None:
    assert cell_len(fit(text, width, align)) == width  # type: ignore[arg-type]


@given(nasty_text, st.integers(0, 30))
def test_cut_says_that_it_cut(text: str, width: int) -> None:
    shown = cut(text, width)
    assert cell_len(shown) <= width
    if cell_len(safe(text)) > width > 0:
        assert shown.endswith("…")


@given(nasty_text, st.integers(2, 12), st.integers(0, 12))
def test_chunks_hold_everything_in_order(text: str, width: int, first: int) -> None:
    text = safe(text)
    pieces = list(chunks(text, min(first, width), width))
    assert "".join(pieces) == text
    assert all(cell_len(piece) <= width for piece in pieces)


@given(nasty_text, st.integers(4, 30), st.integers(0, 8))
def test_wrapped_lines_fit_and_lose_no_word(text: str, width: int, indent: int) -> None:
    lines = wrap([Span(text, "dim"), "x"], width, indent)
    assert all(cell_len(plain(line)) <= width for line in lines)
    shown = "".join(plain(line) for line in lines).replace(" ", "")
    assert shown == (safe(text) + "x").replace(" ", "")


def test_wrapping_breaks_at_spaces_and_indents_what_follows() -> None:
    lines = wrap("no free blocks: needs six", 12, 2)
    assert [plain(line) for line in lines] == ["no free", "  blocks:", "  needs six"]


def test_bars_are_left_out_of_wrapped_text() -> None:
    assert [plain(line) for line in wrap(["a", Bar(0.5), "b"], 10)] == ["ab"]


@given(
    st.lists(st.sampled_from([*NASTY, "\n", "⏎", "␊\n  x", " word", "", "long" * 9]), max_size=40),
    st.integers(3, 20),
)
def test_token_lines_fit_and_hold_every_token_in_order(tokens: list[str], width: int) -> None:
    layout = TokenLayout(tokens.__getitem__, width, "$")
    layout.fit_to(len(tokens))
    lines = [list(layout.fragments(line)) for line in range(len(layout))]
    assert all(sum(cell_len(fragment.text) for fragment in line) <= layout.width for line in lines)
    shown = [fragment.token for line in lines for fragment in line]
    assert shown == sorted(shown)
    assert set(shown) == set(range(len(tokens)))


@given(
    st.lists(st.sampled_from([*NASTY, "\n", " word", "⏎⏎", "long" * 9]), min_size=1, max_size=40),
    st.integers(3, 20),
    st.data(),
)
def test_a_layout_cut_and_extended_equals_a_fresh_one(tokens: list[str], width: int, data: st.DataObject) -> None:
    moved = TokenLayout(tokens.__getitem__, width, "$")
    moved.fit_to(len(tokens))
    for count in data.draw(st.lists(st.integers(0, len(tokens)), max_size=4)):
        moved.fit_to(count)
    moved.fit_to(len(tokens))
    fresh = TokenLayout(tokens.__getitem__, width, "$")
    fresh.fit_to(len(tokens))
    assert moved.starts == fresh.starts
