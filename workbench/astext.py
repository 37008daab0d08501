"""What panes show as plain text: the headless twin of every view is made of these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workbench.widgets.cells import cut, fit
from workbench.widgets.columns import GAP, Placed, place
from workbench.widgets.spans import Line, plain
from workbench.widgets.table import TableModel
from workbench.widgets.textpane import Fact
from workbench.widgets.wrap import wrap

ROWS = 200


def heading(title: str, width: int) -> str:
    """A pane's title as a line of its own."""
    return cut(f"── {title} " + "─" * width, width, "─")


def table(model: TableModel, width: int, rows: int = ROWS) -> list[str]:
    """The first `rows` rows of a table under their titles; `●` marks rows that changed."""
    columns = place(model.columns, width - 2)
    lines = ["  " + _row([item.column.title for item in columns], columns)]
    for index in range(min(len(model), rows)):
        cells = model.row(index)
        mark = "● " if model.changed(index) else "  "
        lines.append(mark + _row([plain(cells[item.index]) for item in columns], columns))
    if len(model) > rows:
        lines.append(f"  … {len(model) - rows} more")
    return [line.rstrip() for line in lines]


def _row(cells: Sequence[str], columns: Sequence[Placed]) -> str:
    parts = (fit(cell, item.width, item.column.align) for cell, item in zip(cells, columns, strict=True))
    return (" " * GAP).join(parts)


def paragraphs(lines: Iterable[Line], width: int) -> list[str]:
    """Wrapped paragraphs."""
    return [plain(part).rstrip() for line in lines for part in wrap(line, width, 2)]


def facts(entries: Sequence[Fact], width: int) -> list[str]:
    """Keys with their values; a key without a value is a heading."""
    keys = max((len(fact.key) for fact in entries if fact.value), default=0) + 2
    return [cut(f"{fact.key:{keys}}{plain(fact.value)}".rstrip(), width) for fact in entries]


__all__ = ["ROWS", "facts", "heading", "paragraphs", "table"]
