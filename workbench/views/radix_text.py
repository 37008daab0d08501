"""The tree as text: an indented line for each node."""

from __future__ import annotations

from workbench.astext import ROWS
from workbench.views.radix_tree import RadixRows
from workbench.widgets.cells import cut, fit
from workbench.widgets.spans import plain


def tree_lines(rows: RadixRows, width: int) -> list[str]:
    """The first nodes in depth-first order: `●` changed, `▸` on the request's path; columns at the right."""
    columns = rows.columns
    right = sum(column.width + 2 for column in columns)
    room = max(10, width - right - 2)
    titles = "  ".join(fit(column.title, column.width, column.align) for column in columns)
    lines = [f"  {fit('text on the edge', room)}  {titles}"]
    stack = [(node, 0) for node in reversed(rows.roots())]
    while stack and len(lines) <= ROWS:
        node, depth = stack.pop()
        mark = "● " if rows.changed(node) else "▸ " if rows.lit(node) else "  "
        label = fit(cut("  " * depth + plain(rows.label(node)), room), room)
        pairs = zip(columns, rows.cells(node), strict=True)
        cells = "  ".join(fit(plain(cell), column.width, column.align) for column, cell in pairs)
        lines.append(f"{mark}{label}  {cells}".rstrip())
        stack += [(child, depth + 1) for child in reversed(rows.children(node))]
    return [*lines, "  …"] if stack else lines


__all__ = ["tree_lines"]
