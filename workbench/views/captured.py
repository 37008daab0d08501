"""Tensors that were captured while the engine ran: what needs no engine to be shown again."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from engine import protocol as pr
from sessions.errors import SessionError
from workbench.inspections import Look
from workbench.record import Record

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

FLOAT_BYTES = 4
MOST_VALUES = 1 << 26  # of a row: layers x heads x kv


def captured_logits(record: Record, request: str, position: int) -> bytes | None:
    """The logits that chose the token at `position`, little-endian float32 [vocab], where they were kept."""
    found = _rows(record, request, position, "logits").get(None)
    return found if found and len(found) == FLOAT_BYTES * record.about.shape.vocab_size else None


def captured_attention(record: Record, look: Look) -> pr.Inspection | None:
    """What an inspection of the row would say, of the layers whose patterns were kept; the others are NaN.

    Only the row itself was kept, so the maps are of that one row, and nothing is recomputed: `check` is NaN.
    """
    import numpy as np

    shape, kv = record.about.shape, look.position + 1
    kept = _rows(record, look.request, kv, "attn_pattern")
    if not kept or shape.layers * shape.heads * kv > MOST_VALUES:
        return None
    row = np.full((shape.layers, shape.heads, kv), np.nan, np.float32)
    for layer, data in kept.items():
        if layer is not None and 0 <= layer < shape.layers and len(data) == FLOAT_BYTES * shape.heads * kv:
            row[layer] = np.frombuffer(data, "<f4").reshape(shape.heads, kv)
    row = row.clip(0, 1)  # a file from elsewhere may hold anything
    return None if np.isnan(row).all() else _as_inspection(look, row)


def captured_residuals(record: Record, request: str, position: int) -> dict[int, Floats]:
    """By layer, the residual stream `[hidden]` after it, of the row that chose the token at `position`."""
    import numpy as np

    kept = _rows(record, request, position, "resid_post")
    sizes = {len(data) for data in kept.values()}
    if len(sizes) != 1 or sizes.pop() % FLOAT_BYTES:
        return {}
    layers = range(record.about.shape.layers)
    return {layer: np.frombuffer(kept[layer], "<f4") for layer in layers if layer in kept}


def _as_inspection(look: Look, row: Floats) -> pr.Inspection:
    import numpy as np

    layers, heads, kv = row.shape
    bins = np.minimum(np.arange(look.grid) * kv // look.grid, kv - 1)
    pooled = np.maximum.reduceat(row, np.unique(bins), axis=-1)[..., np.searchsorted(np.unique(bins), bins)]
    grid = np.repeat(pooled[:, :, None, :], look.grid, axis=2)
    entropy = -(row * np.log(np.maximum(row, 1e-30))).sum(-1)
    return pr.Inspection(
        request=look.request, position=look.position, layer=look.layer, head=look.head, rows=1, layers=layers,
        heads=heads, kv=kv, pool=1, grid_size=look.grid, logits=b"", row=row.tobytes(),
        focus=row[look.layer, look.head].tobytes(), grid=grid.astype("<f4").tobytes(),
        head_entropy=entropy.astype("<f4").tobytes(), head_sink=row[..., 0].tobytes(),
        head_distance=(row * np.arange(kv - 1, -1, -1)).sum(-1).astype("<f4").tobytes(),
        check=float("nan"), reused=0, prefilled=0,
    )  # fmt: skip


def _rows(record: Record, request: str, position: int, stage: str) -> dict[int | None, bytes]:
    """By layer, what was kept of a stage in the row that chose the token at `position`."""
    token = record.token_row(request, position)
    if token is None:
        return {}
    wanted = (stage, request, position - 1)
    found: dict[int | None, bytes] = {}
    for tensor in record.session.tensors(token.chosen_step, record.branch):
        if (tensor.key.stage, tensor.key.request, tensor.key.start) == wanted and tensor.dtype == "F32":
            with suppress(SessionError):  # a damaged one is as good as none
                found[tensor.key.layer] = record.session.tensor_bytes(tensor)
    return found


__all__ = ["captured_attention", "captured_logits", "captured_residuals"]
