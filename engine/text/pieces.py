"""The exact bytes one token stands for in the middle of a text.

A tokenizer's decoder works on whole sequences and returns whole characters; a token may be part of one.
This reads the decoder's definition and undoes it for a single piece of the vocabulary.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import tokenizers

__all__ = ["piece_decoder"]

PieceDecoder = Callable[[str], bytes]

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SEQUENCE_STEPS = {"Fuse", "Strip"}  # these do nothing to a piece in the middle of a text


def piece_decoder(tokenizer: tokenizers.Tokenizer) -> PieceDecoder | None:
    """How to turn a piece of this tokenizer's vocabulary into bytes; None if its decoder needs the context."""
    if tokenizer.decoder is None:
        return None
    steps = _flat(json.loads(tokenizer.decoder.__getstate__()))
    kinds = {step["type"] for step in steps}
    if kinds == {"ByteLevel"}:
        return _from_byte_level
    if kinds - _SEQUENCE_STEPS <= {"ByteFallback", "Replace", "Metaspace"}:
        return _from_plain(steps)
    return None


def _flat(decoder: dict[str, Any]) -> list[dict[str, Any]]:
    if decoder["type"] == "Sequence":
        return [step for part in decoder["decoders"] for step in _flat(part)]
    return [decoder]


def _from_byte_level(piece: str) -> bytes:
    """Each character stands for a byte, unless one of them does not: then the piece is literal."""
    try:
        return bytes(_BYTE_OF[character] for character in piece)
    except KeyError:
        return piece.encode()


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's characters for bytes: printable ones for themselves, then the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _byte_level_alphabet()


def _from_plain(steps: list[dict[str, Any]]) -> PieceDecoder:
    """SentencePiece's pieces: text with a sign for the space, and `<0x0A>` for a byte."""
    has_bytes = any(step["type"] == "ByteFallback" for step in steps)
    substitutions = [found for step in steps if (found := _substitution(step))]

    def decode(piece: str) -> bytes:
        if has_bytes and (byte := _BYTE_PIECE.fullmatch(piece)):
            return bytes([int(byte[1], 16)])
        for old, new in substitutions:
            piece = piece.replace(old, new)
        return piece.encode()

    return decode


def _substitution(step: dict[str, Any]) -> tuple[str, str] | None:
    if step["type"] == "Metaspace":
        return step["replacement"], " "
    if step["type"] == "Replace" and "String" in step["pattern"]:
        return step["pattern"]["String"], step["content"]
    return None
