"""Values of a stage as lines, as gdb's `x` shows memory."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from engine.debug.commands import ExamineFormat
from engine.debug.errors import LacksError
from engine.debug.said import place_text
from engine.execution import Forward, Halted
from engine.stage_report import Values, Window

IN_A_LINE = 8
_WIDTHS: dict[ExamineFormat, int] = {"f": 11, "e": 14, "g": 13, "x": 9}


def stage_values(
    forward: Forward | None, place: tuple[int, str], request: str, row: int | None, count: int
) -> tuple[int, Values]:
    """The first `count` values of a row (None: the last) of `request` at the stage where the pass is halted.

    Returns the row's number too. Raises LacksError where the pass stands elsewhere, or there is no such row.
    """
    at = forward.at if isinstance(forward, Halted) else None
    name = place_text(*place)
    if forward is None or at is None or (at.layer, at.stage) != place:
        where = (
            "no forward pass is under way"
            if at is None
            else f"the pass stands at {place_text(at.layer, at.stage)}"
        )
        raise LacksError(f"{where}: stop at {name} first, with `until {name}`")
    assert isinstance(forward, Halted)
    try:
        rows = forward.rows(request, at.stage)
    except KeyError:
        raise LacksError(f"request {request} is not in this pass") from None
    have = rows.stop - rows.start
    if not have:
        raise LacksError(f"request {request} has no row at {name}: no token of it is chosen in this step")
    row = have - 1 if row is None else row
    if row >= have:
        raise LacksError(f"request {request} has {have} rows at {name}, 0 to {have - 1}: there is no row {row}")
    width = forward.values(request, Window(row, 1))
    assert width is not None
    values = forward.values(request, Window(row, 1, 0, min(count, width.columns)))
    assert values is not None
    return row, values


def dump_lines(name: str, request: str, row: int, values: Values, format_: ExamineFormat) -> tuple[str, ...]:
    """Eight values a line, each line with the index of its first."""
    numbers = struct.unpack(f"<{len(values.data) // 4}f", values.data)
    lines = [f"{name}[req {request} row {row}], values 0 to {len(numbers) - 1}"]
    for start in range(0, len(numbers), IN_A_LINE):
        cells = "".join(_cell(number, format_) for number in numbers[start : start + IN_A_LINE])
        lines.append(f"{start:>6}:{cells}")
    return tuple(lines)


def numbers_of(values: Values) -> Sequence[float]:
    return struct.unpack(f"<{len(values.data) // 4}f", values.data)


def _cell(number: float, format_: ExamineFormat) -> str:
    width = _WIDTHS[format_]
    match format_:
        case "f":
            text = f"{number:.5f}"
        case "e":
            text = f"{number:.6e}"
        case "g":
            text = f"{number:g}"
        case "x":
            text = struct.pack(">f", number).hex()
    return f"{text:>{width}}"
