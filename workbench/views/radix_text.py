"""The tree as text: an indented line for each node."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.astext import ROWS
from workbench.views.radix_tree import RadixRows
from workbench.widgets.cells import cut, fit
from workbench.widgets.columns import GAP, Placed, place
from workbench.widgets.spans import plain


def tree_lines(rows: RadixRows, width: int) -> list[str]:
    """The first nodes in depth-first order: `●` changed, `▸` on the request's path; columns at the right."""
    columns = place(rows.columns, max(0, width - 2) // 2)
    room = max(1, width - 2 - sum(item.width + GAP for item in columns))
    titles = _cells([item.column.title for item in columns], columns)
    lines = [f"  {fit('text on the edge', room)}{titles}"]
    stack = [(node, 0) for node in reversed(rows.roots())]
    while stack and len(lines) <= ROWS:
        node, depth = stack.pop()
        mark = "● " if rows.changed(node) else "▸ " if rows.lit(node) else "  "
        label = fit(cut("  " * depth + plain(rows.label(node)), room), room)
        shown = rows.cells(node)
        cells = _cells([plain(shown[item.index]) for item in columns], columns)
        lines.append(f"{mark}{label}{cells}".rstrip())
        stack += [(child, depth + 1) for child in reversed(rows.children(node))]
    return [*lines, "  …"] if stack else lines


def _cells(texts: Sequence[str], columns: Sequence[Placed]) -> str:
    pairs = zip(texts, columns, strict=True)
    return "".join(" " * GAP + fit(text, item.width, item.column.align) for text, item in pairs)


__all__ = ["tree_lines"]
