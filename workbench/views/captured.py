"""Tensors that were captured while the engine ran: what needs no engine to be shown again."""

from __future__ import annotations

from workbench.record import Record

FLOAT_BYTES = 4


def captured_logits(record: Record, request: str, position: int) -> bytes | None:
    """The logits that chose the token at `position`, little-endian float32 [vocab], where they were kept."""
    token = record.token_row(request, position)
    if token is None:
        return None
    wanted = ("logits", request, position - 1)
    for tensor in record.session.tensors(token.chosen_step, record.branch):
        if (tensor.key.stage, tensor.key.request, tensor.key.start) == wanted and tensor.dtype == "F32":
            data = record.session.tensor_bytes(tensor)
            return data if len(data) == FLOAT_BYTES * record.about.shape.vocab_size else None
    return None


__all__ = ["captured_logits"]
