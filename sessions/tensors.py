"""Captured tensors: bytes that were taken while the engine ran, and where they belong."""

from __future__ import annotations

import msgspec

from engine.capture import Captured, TensorKey
from sessions.compression import compress, decompress
from sessions.errors import SessionError
from sessions.records import TensorRow
from sessions.rows import Row
from sessions.tables import Tables

MAX_TENSOR_BYTES = 1 << 30


def tensor_row(tensor: Captured) -> Row:
    """The row of `tensors` for a captured tensor."""
    shape = msgspec.json.encode(tensor.shape).decode()
    return (*msgspec.structs.astuple(tensor.key), tensor.dtype, shape, compress(tensor.data))


class TensorQueries(Tables):
    """The `tensors` table."""

    def tensors(self, step: int, branch: int = 0) -> list[TensorRow]:
        """The tensors that were captured in `step`, without their values."""
        rows = self._rows(
            "SELECT id, branch, step, request, layer, stage, start, dtype, shape FROM tensors"
            " WHERE branch = ? AND step = ? ORDER BY id",
            self.lineage(branch).owner(step), step,
        )  # fmt: skip
        return [
            TensorRow(number, TensorKey(*key), dtype, msgspec.json.decode(shape, type=tuple[int, ...]))
            for number, *key, dtype, shape in rows
        ]

    def tensor_bytes(self, tensor: TensorRow) -> bytes:
        """The elements of a captured tensor, little endian, row-major. Raises SessionError where damaged."""
        data = self._value("SELECT data FROM tensors WHERE id = ?", tensor.id)
        try:
            return decompress(data, MAX_TENSOR_BYTES)
        except (TypeError, ValueError) as error:
            raise SessionError(f"{self.path}: tensor {tensor.id} is damaged: {error}") from error
