"""Parts of the embedded data: plain JSON where that is short, compressed where it pays."""

from __future__ import annotations

import base64
import re
import zlib
from typing import Any, Final, TypedDict

import msgspec

PAYS_BYTES: Final = 2_048
"""Shorter parts stay as they are: base64 takes back a third of what compressing saves."""
DIGITS: Final = 9
"""Significant digits that give a float32 back exactly."""
_LOUD: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_LOUD_PATTERN: Final = re.compile("[<>&\u2028\u2029]")


class Packed(TypedDict):
    """`z`: zlib data (RFC 1950) in base64: of JSON, or of bytes where the part says so."""

    z: str


def pack(value: Any) -> Any:
    """`value` itself, or a Packed that holds it as JSON."""
    data = msgspec.json.encode(value)
    return value if len(data) < PAYS_BYTES else pack_bytes(data)


def pack_bytes(data: bytes) -> Packed:
    return {"z": base64.b64encode(zlib.compress(data, 9)).decode()}


def unpack(value: Any) -> Any:
    """What `pack` was given."""
    return msgspec.json.decode(unpack_bytes(value)) if isinstance(value, dict) and "z" in value else value


def unpack_bytes(packed: Any) -> bytes:
    return zlib.decompress(base64.b64decode(packed["z"]))


def script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in, nor begin another."""
    text = msgspec.json.encode(value).decode()
    return _LOUD_PATTERN.sub(lambda found: _LOUD[found[0]], text)


def short(value: float) -> float | str | None:
    """A float32 in as few digits as give it back; infinite ones as text, since JSON has none."""
    return number(float(f"{value:.{DIGITS}g}"))


def number(value: float | None) -> float | str | None:
    """A float64 as it is; `inf` and `-inf` as text, what is no number as null."""
    if value is None or value != value:
        return None
    return value if abs(value) != float("inf") else ("inf" if value > 0 else "-inf")
