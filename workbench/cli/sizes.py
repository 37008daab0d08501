"""Amounts of memory as people write and read them."""

from __future__ import annotations

import re

from workbench.cli.errors import CommandError

UNITS = {
    "": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40,
    "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip

_SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([A-Za-z]*)\s*")


def parse_size(option: str, text: str) -> int:
    """The bytes of `512MiB`, `1.5G`, `2GB` or `1048576`; `option` names it in the error."""
    match = _SIZE.fullmatch(text)
    if match is None or match[2].upper() not in UNITS:
        raise CommandError(f"{option} is {text!r}: write a size such as 512MiB, 2GiB or 1048576")
    return int(float(match[1]) * UNITS[match[2].upper()])


def show_size(size_bytes: int) -> str:
    """`6.9 MiB`: the largest unit of which there is at least one."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.1f} {name}"
    return f"{size_bytes} B"


def show_count(count: int) -> str:
    """`3.1M`: a number of parameters."""
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= unit:
            return f"{count / unit:.1f}{name}"
    return str(count)
