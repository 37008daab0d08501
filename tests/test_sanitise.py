"""Nothing a model writes can act on the terminal, and what is shown has a width that adds up."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len, get_character_cell_size

from engine.sanitise import display_bytes, display_text

anything = st.text(st.characters(codec=None, categories=None), max_size=40)
marks = st.text(st.sampled_from("aव1 ◌\u0301\u20dd\u0903\u1161\u11a8\u1100\ufe0f\u200d👍🏽🇩❤"), max_size=20)
HARMFUL = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def is_mark(character: str) -> bool:
    return get_character_cell_size(character) == 0


@pytest.mark.parametrize(("text", "shown"), [
    ("plain text", "plain text"),
    ("a\nb\r\tc", "a⏎b␍␉c"),
    ("\x1b[31mred\x1b]0;title\x07", "␛[31mred␛]0;title␇"),
    ("\x00\x7f\x9b", "␀␡⟨9B⟩"),
    ("a\u202egnp.exe\u202c", "a⟨202E⟩gnp.exe⟨202C⟩"),
    ("zero\u200bwidth\ufeff", "zero⟨200B⟩width⟨FEFF⟩"),
    ("\u2028\u2029\u00a0\u3000", "⟨2028⟩⟨2029⟩⟨A0⟩⟨3000⟩"),
    ("👩\u200d👩", "👩⟨200D⟩👩"),
    ("❤\ufe0f", "❤⟨FE0F⟩"),
    ("🇩🇪", "⟨1F1E9⟩⟨1F1EA⟩"),
    ("👍🏽", "👍⟨1F3FD⟩"),
    ("tag\U000e0041", "tag⟨E0041⟩"),
    ("a\U000e0100\ufe01", "a⟨E0100⟩⟨FE01⟩"),
    ("\u115f\u1160\u3164\uffa0\u2800", "⟨115F⟩⟨1160⟩⟨3164⟩⟨FFA0⟩⟨2800⟩"),
    ("\ue000\U0010ffff\ud800", "⟨E000⟩⟨10FFFF⟩⟨D800⟩"),
    ("e\u0301 \u0301", "e\u0301 ◌\u0301"),
    ("a" + 4 * "\u0301", "a\u0301\u0301⟨301⟩⟨301⟩"),
    ("日本語 हिन्दी עברית", "日本語 हिन्दी עברית"),
    ("[red]markup[/red]", "[red]markup[/red]"),
])  # fmt: skip
def test_examples(text, shown):
    assert display_text(text) == shown


@pytest.mark.parametrize(("data", "shown"), [
    (b"\xe2\x80", "‹e2›‹80›"),
    (b"ok \xff\xe2\x82\xac\x1b", "ok ‹ff›€␛"),
    ("\u202e".encode(), "⟨202E⟩"),
])  # fmt: skip
def test_bytes_show_what_is_no_whole_character(data, shown):
    assert display_bytes(data) == shown


def test_spaces_can_be_made_visible():
    assert display_text("a b\n", visible_spaces=True) == "a·b⏎"
    assert display_bytes(b" \xe2", visible_spaces=True) == "·‹e2›"


@given(anything | marks)
@example("".join(map(chr, range(0x300))))
def test_nothing_harmful_survives(text):
    shown = display_text(text)
    assert not {unicodedata.category(character) for character in shown} & HARMFUL
    assert not [c for c in shown if get_character_cell_size(c) == 0 and unicodedata.category(c)[0] not in "ML"]
    shown.encode()


@given(anything | marks)
def test_no_mark_stands_alone_and_none_are_stacked(text):
    shown = "\n\n" + display_text(text)
    for place, character in enumerate(shown[2:], start=2):
        if is_mark(character):
            before = shown[place - 1]
            assert before == "◌" or unicodedata.category(before)[0] in "LNM"
            assert not (is_mark(before) and is_mark(shown[place - 2]))


@given(anything | marks)
def test_the_width_is_the_sum_of_the_characters(text):
    shown = display_text(text)
    assert cell_len(shown) == sum(map(get_character_cell_size, shown))


@given(anything | marks, st.booleans())
def test_doing_it_twice_changes_nothing(text, visible_spaces):
    shown = display_text(text, visible_spaces=visible_spaces)
    assert display_text(shown, visible_spaces=visible_spaces) == shown


@given(anything | marks)
def test_growth_is_bounded(text):
    assert len(display_text(text)) <= 8 * len(text)


@given(st.binary(max_size=40))
def test_any_bytes_can_be_shown(data):
    shown = display_bytes(data)
    assert not {unicodedata.category(character) for character in shown} & HARMFUL


def test_every_single_character_is_harmless():
    blocks = ("".join(map(chr, range(start, start + 0x1000))) for start in range(0, 0x110000, 0x1000))
    shown = set().union(*map(display_text, blocks))
    assert not {unicodedata.category(character) for character in shown} & HARMFUL
    assert all(get_character_cell_size(c) > 0 for c in shown if unicodedata.category(c)[0] not in "ML")
