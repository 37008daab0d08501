"""Captured tensors as one safetensors file, written as they are read: no tensor library is needed.

Format: a u64 with the length of a JSON header, the header with a name, dtype, shape and place for each tensor,
then their bytes (https://github.com/huggingface/safetensors#format).

Names say step, layer and stage (`step000012/layers.07/attn_pattern`, `step000012/logits`); where the file has
rows of several requests, also whose row it is and where (`.../req.3/pos.161`): the position of the input row.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final

import msgspec

from sessions.errors import SessionError
from sessions.export.excerpt import Excerpt
from sessions.export.options import parse_names
from sessions.export.output import Progress
from sessions.records import TensorRow

MAX_HEADER_BYTES: Final = 100_000_000
"""What readers of the format accept."""
ITEM_BYTES: Final = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_LENGTH: Final = struct.Struct("<Q")
_ALIGNED: Final = 8


def write(excerpt: Excerpt, stream: BinaryIO, progress: Progress) -> None:
    """Write the tensors in order of steps. Raises SessionError where none was captured."""
    tensors = _chosen(excerpt)
    stream.write(_header(excerpt, tensors))
    for done, tensor in enumerate(tensors, 1):
        data = excerpt.session.tensor_bytes(tensor)
        if len(data) != size_bytes(tensor):
            raise SessionError(
                f"tensor {tensor.id} is damaged: {len(data)} bytes, its shape has {size_bytes(tensor)}"
            )
        stream.write(data)
        if done % 100 == 0 or done == len(tensors):
            progress(done, len(tensors))


def tensor_name(tensor: TensorRow, several: bool) -> str:
    """What the tensor is called; `several` says that the file has rows of more than one request."""
    key = tensor.key
    parts = [f"step{key.step:06}"]
    if key.layer is not None:
        parts.append(f"layers.{key.layer:02}")
    parts.append(key.stage)
    if several and key.request is not None:
        parts += [f"req.{key.request}", f"pos.{key.start}"]
    return "/".join(parts)


def size_bytes(tensor: TensorRow) -> int:
    """How many bytes its elements take. Raises SessionError for a dtype that is not known."""
    if tensor.dtype not in ITEM_BYTES:
        raise SessionError(f"tensor {tensor.id} has dtype {tensor.dtype}, which is not one of safetensors")
    return math.prod(tensor.shape) * ITEM_BYTES[tensor.dtype]


def _chosen(excerpt: Excerpt) -> list[TensorRow]:
    """The tensors asked for, in order of steps."""
    tensors = [tensor for step in excerpt.step_rows() for tensor in excerpt.tensors(step.step)]
    if not tensors:
        raise SessionError(_nothing(excerpt))
    stages = sorted({tensor.key.stage for tensor in tensors})
    wanted = stages if excerpt.options.stages is None else parse_names("stages", excerpt.options.stages, stages)
    captured = excerpt.session.header.options.capture
    if excerpt.session.redacted and any(not spec.startswith("attn") for spec in captured):
        excerpt.leave_out("captured logits and residuals: they can be turned into text again")
    return [tensor for tensor in tensors if tensor.key.stage in wanted]


def _nothing(excerpt: Excerpt) -> str:
    none = f"{excerpt.source} holds no captured tensors of these steps, requests and layers"
    if excerpt.session.redacted:
        return f"{none}, or only logits and residuals, which redaction leaves out: record with --capture attn"
    return f"{none}: record with --capture attn, logits or resid"


def _header(excerpt: Excerpt, tensors: Sequence[TensorRow]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": _metadata(excerpt)} | dict(_entries(tensors))
    if len(entries) != len(tensors) + 1:
        raise SessionError(f"{excerpt.source} has two tensors of one name: it is damaged")
    header = msgspec.json.encode(entries)
    header += b" " * (-len(header) % _ALIGNED)
    if len(header) > MAX_HEADER_BYTES:
        raise SessionError(f"{len(tensors):,} tensors are too many for one safetensors file: choose --steps")
    return _LENGTH.pack(len(header)) + header


def _entries(tensors: Sequence[TensorRow]) -> Iterator[tuple[str, dict[str, Any]]]:
    several = len({tensor.key.request for tensor in tensors}) > 1
    start = 0
    for tensor in tensors:
        stop = start + size_bytes(tensor)
        yield (
            tensor_name(tensor, several),
            {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, stop]},
        )
        start = stop


def _metadata(excerpt: Excerpt) -> dict[str, str]:
    """Strings only, as the format wants it."""
    return {
        "workbench.header": msgspec.json.encode(excerpt.session.header).decode(),
        "workbench.excerpt": msgspec.json.encode(excerpt.about).decode(),
    }
