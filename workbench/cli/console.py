"""What commands print: data on stdout, narration on stderr, foreign text made harmless."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import msgspec

from engine.sanitise import display_text


def say(text: str) -> None:
    """One line of narration."""
    print(f"workbench: {display_text(text)}", file=sys.stderr, flush=True)


def print_json(value: object) -> None:
    """`value` (structs, dataclasses, plain data) as one line of JSON."""
    print(msgspec.json.encode(value).decode())


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[int] = ()) -> None:
    """Columns two spaces apart, those in `right` aligned to the right; the last one is as long as it is."""
    lines = [tuple(map(str, head)), *(tuple(display_text(str(cell)) for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = [
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def print_pairs(pairs: Sequence[tuple[str, object]]) -> None:
    """One named value a line; None shows as `-`."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        print(f"{name.ljust(width)}  {'-' if value is None else display_text(str(value))}")
