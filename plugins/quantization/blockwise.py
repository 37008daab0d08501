"""A product with a weight that is decoded a block of rows at a time, so that no dense copy of it exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

BLOCK_WEIGHTS = 1 << 20
"""Weights decoded at a time: few enough to take little memory, enough to be multiplied fast."""

Decode = Callable[[slice], Tensor]
"""From a range of a weight's rows (outputs) to their values, `[rows, in]`."""


def row_blocks(rows: int, columns: int, multiple: int = 1) -> Iterator[slice]:
    """Ranges that cover `rows`, of about `BLOCK_WEIGHTS` weights each, `multiple` rows or a multiple of that."""
    step = max(multiple, BLOCK_WEIGHTS // columns // multiple * multiple)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def multiply(x: Tensor, rows: int, decode: Decode, multiple: int = 1) -> Tensor:
    """`x [n, in]` times a weight of that many `rows`, transposed: `[n, rows]`."""
    out = x.new_empty(len(x), rows)
    for block in row_blocks(rows, x.shape[1], multiple):
        out[:, block] = torch.mm(x, decode(block).t())
    return out


def whole(rows: int, columns: int, decode: Decode, multiple: int = 1) -> Tensor:
    """All of a weight, `[rows, columns]`."""
    return torch.cat([decode(block) for block in row_blocks(rows, columns, multiple)])
