"""The one place where foreign text becomes text that is safe to show in a terminal.

A model, a prompt or a session file must not move the cursor, change colours or titles, reorder or hide what
is on the screen. Whatever could do that is replaced by a picture of it:

| what | becomes |
|---|---|
| newline | `⏎` |
| other C0 controls and DEL, ESC among them | their Unicode pictures: `␉` `␍` `␛` `␡` |
| bidi controls, zero-width characters, joiners, variation selectors, tags, C1 controls, odd spaces, line separators, emoji modifiers and flag letters, private, unassigned | their number: `⟨202E⟩` |
| a byte that is no UTF-8 (as a surrogate escape) | its number: `‹e2›` |
| a combining mark with nothing to stand on | the mark on `◌` |
| a third and further combining mark on one character | its number: `⟨301⟩` |

What comes out is as wide as the sum of its characters: sequences that terminals join into one picture are
broken up. Right-to-left letters stay. Markup is not escaped: the result belongs into Rich's `Text` or a
`Segment`, never into a markup string.
"""  # noqa: E501

from __future__ import annotations

import unicodedata
from functools import cache

__all__ = ["display_bytes", "display_text"]

_BASE = "◌"
_MARKS_ON_ONE_CHARACTER = 2


def display_text(text: str, *, visible_spaces: bool = False) -> str:
    """`text` with everything a terminal could act on made visible; with `visible_spaces`, a space is `·`.

    Doing it twice changes nothing more. No character becomes more than eight.
    """
    shown = text if text.isascii() and text.isprintable() else _with_bases(text.translate(_PICTURES))
    return shown.replace(" ", "·") if visible_spaces else shown


def display_bytes(data: bytes, *, visible_spaces: bool = False) -> str:
    """`display_text` of UTF-8 bytes, of which any may be missing: `b"\\xe2\\x80"` becomes `‹e2›‹80›`."""
    return display_text(data.decode("utf-8", "surrogateescape"), visible_spaces=visible_spaces)


class _Pictures(dict[int, str]):
    """A table for `str.translate` that works out each character when it first occurs."""

    def __missing__(self, code: int) -> str:
        self[code] = picture = _picture(code)
        return picture


_PICTURES = _Pictures()


def _picture(code: int) -> str:
    if code == 0x0A:
        return "⏎"
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if 0xDC80 <= code <= 0xDCFF:
        return f"‹{code - 0xDC00:02x}›"
    return _number(code) if _is_harmful(code) else chr(code)


def _number(code: int) -> str:
    return f"⟨{code:X}⟩"


_HARMFUL_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Me"}
_HARMFUL_RANGES = (
    (0x034F, 0x034F),  # combining grapheme joiner
    (0x115F, 0x115F),  # Hangul fillers
    (0x1160, 0x1160),
    (0x17B4, 0x17B5),  # Khmer inherent vowels
    (0x180B, 0x180F),  # Mongolian variation selectors
    (0x2800, 0x2800),  # blank Braille pattern
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFFA0, 0xFFA0),
    (0x1F1E6, 0x1F1FF),  # regional indicators: two make a flag
    (0x1F3FB, 0x1F3FF),  # skin tones
    (0xE0000, 0xE0FFF),  # tags, more variation selectors
)


def _is_harmful(code: int) -> bool:
    category = unicodedata.category(chr(code))
    odd_space = category == "Zs" and code != 0x20
    return (
        odd_space or category in _HARMFUL_CATEGORIES or any(low <= code <= high for low, high in _HARMFUL_RANGES)
    )


def _with_bases(text: str) -> str:
    """Every combining mark on a letter, number or `◌`, and at most two on one."""
    if not any(map(_is_mark, set(text))):
        return text
    shown: list[str] = []
    room = 0
    for character in text:
        if not _is_mark(character):
            room = _MARKS_ON_ONE_CHARACTER if _can_carry(character) else -1
            shown.append(character)
        elif room == 0:
            shown.append(_number(ord(character)))
        elif room < 0:
            shown.append(_BASE + character)
            room = _MARKS_ON_ONE_CHARACTER - 1
        else:
            shown.append(character)
            room -= 1
    return "".join(shown)


@cache
def _is_mark(character: str) -> bool:
    """Combining marks, and the Hangul vowels and finals that join the consonant before them."""
    return (
        unicodedata.category(character) in ("Mn", "Mc")
        or "\u1160" <= character <= "\u11ff"
        or "\ud7b0" <= character <= "\ud7ff"
    )


def _can_carry(character: str) -> bool:
    return character == _BASE or unicodedata.category(character)[0] in "LN"
