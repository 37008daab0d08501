"""The header of a safetensors file, checked against the file before any memory is taken. No torch.

    [8 bytes: header length, little endian] [header: JSON] [tensor bytes ...]

Format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from engine.model.errors import ModelError, shown

MAX_HEADER_BYTES = 100_000_000

DTYPE_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file: `begin` and `end` count bytes from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors in `path` by name.

    Raises `ModelError` unless the header fits the file, every dtype is known, every size is the product of
    its shape, and the tensors cover the data exactly: no overlap, no hole, nothing after the last.
    """
    try:
        file_bytes = path.stat().st_size
        with path.open("rb") as file:
            header_bytes = _header_bytes(path, file.read(8), file_bytes)
            raw = file.read(header_bytes)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    tensors = {
        name: _tensor(f"{path}: tensor {shown(name)}", entry)
        for name, entry in _json_object(path, raw).items()
        if name != "__metadata__"
    }
    _check_layout(path, tensors, file_bytes - 8 - header_bytes)
    return tensors


def _header_bytes(path: Path, length: bytes, file_bytes: int) -> int:
    if len(length) < 8:
        raise ModelError(f"{path}: {file_bytes} bytes long: too short for a safetensors file")
    header_bytes = int.from_bytes(length, "little")
    if header_bytes > min(file_bytes - 8, MAX_HEADER_BYTES):
        raise ModelError(
            f"{path}: its header claims {header_bytes} bytes, the file has {file_bytes - 8} after the length: "
            "it is truncated or not safetensors"
        )
    return header_bytes


def _json_object(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        header = json.loads(raw, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: its header is not valid JSON: {error}") from error
    if not isinstance(header, dict):
        raise ModelError(f"{path}: its header is a JSON {type(header).__name__}, an object is needed")
    return header


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name occurs twice")
    return values


def _tensor(where: str, entry: Any) -> TensorInfo:
    if not isinstance(entry, dict):
        raise ModelError(f"{where}: described by {shown(entry)}, an object is needed")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise ModelError(f"{where}: dtype {shown(dtype)} is not known")
    if not _whole_numbers(shape):
        raise ModelError(f"{where}: shape {shown(shape)} is not a list of sizes")
    if not _whole_numbers(offsets) or len(offsets) != 2:
        raise ModelError(f"{where}: data_offsets {shown(offsets)} are not a begin and an end")
    begin, end = offsets
    needed = math.prod(shape) * DTYPE_BYTES[dtype]
    if end - begin != needed:
        raise ModelError(f"{where}: {dtype} {shown(shape)} needs {needed} bytes, its offsets span {end - begin}")
    return TensorInfo(dtype, tuple(shape), begin, end)


def _whole_numbers(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_layout(path: Path, tensors: dict[str, TensorInfo], data_bytes: int) -> None:
    """Raises unless the tensors lie end to end over all of the file's data."""
    reached = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if info.begin != reached:
            kind = "overlaps the one before it" if info.begin < reached else "leaves a hole before it"
            raise ModelError(f"{path}: tensor {shown(name)} at byte {info.begin} {kind}, which ends at {reached}")
        reached = info.end
    if reached != data_bytes:
        kind = "it is truncated" if reached > data_bytes else "it has bytes of no tensor"
        raise ModelError(f"{path}: its tensors take {reached} bytes, the file holds {data_bytes}: {kind}")
