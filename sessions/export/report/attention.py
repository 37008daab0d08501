"""Captured attention: what every head of the captured layers looked at when a token was chosen.

A byte holds the square root of an attention weight in 255ths, so a weight w comes back within 0.004 √w: the page
says that these are rounded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sessions.export.excerpt import Excerpt
from sessions.export.report.packing import pack_bytes
from sessions.records import TensorRow

STAGE = "attn_pattern"
LEVELS = 255


def attention_of(excerpt: Excerpt) -> Iterator[tuple[str, dict[str, Any]]]:
    """The request and its attention: `layers`, `heads`, the `positions` whose choice was captured, and bytes.

    The bytes of a position are [layers, heads, kv], where kv is that position: the rows before the token.
    """
    rows = _rows(excerpt)
    for request in excerpt.requests:
        if found := rows.get(request.request):
            yield request.request, _pack(excerpt, found)


def _rows(excerpt: Excerpt) -> dict[str, dict[int, dict[int, TensorRow]]]:
    """By request, by position of the token chosen, by layer."""
    heads = excerpt.session.header.shape.heads
    found: defaultdict[str, dict[int, dict[int, TensorRow]]] = defaultdict(dict)
    for step in excerpt.step_rows():
        for tensor in excerpt.tensors(step.step):
            key = tensor.key
            readable = tensor.dtype == "F32" and tensor.shape == (heads, key.start + 1)
            if key.stage == STAGE and key.request is not None and key.layer is not None and readable:
                found[key.request].setdefault(key.start + 1, {})[key.layer] = tensor
    return found


def _pack(excerpt: Excerpt, rows: dict[int, dict[int, TensorRow]]) -> dict[str, Any]:
    layers = sorted(set.intersection(*(set(of_layer) for of_layer in rows.values())))
    positions = sorted(rows)
    data = b"".join(_quantized(excerpt, rows[position][layer]) for position in positions for layer in layers)
    heads = excerpt.session.header.shape.heads
    return {"layers": layers, "heads": heads, "positions": positions, "weights": pack_bytes(data)}


def _quantized(excerpt: Excerpt, tensor: TensorRow) -> bytes:
    import numpy as np

    weights = np.frombuffer(excerpt.session.tensor_bytes(tensor), "<f4").clip(0, 1)
    data: bytes = np.rint(np.sqrt(weights) * LEVELS).astype(np.uint8).tobytes()
    return data
