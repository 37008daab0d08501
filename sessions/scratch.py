"""Memory that two processes share: two slots through which a step's logits pass without being piped."""

from __future__ import annotations

import mmap
import os
import tempfile

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]


class Scratch:
    """An unnamed file of two slots. The writer of a slot says how large it is; both sides map it anew to grow."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._slot_bytes = 0
        self._map: mmap.mmap | None = None

    @classmethod
    def create(cls) -> Scratch:
        if hasattr(os, "memfd_create"):
            return cls(os.memfd_create("logits", 0))
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()))

    @property
    def slot_bytes(self) -> int:
        return self._slot_bytes

    def put(self, slot: int, logits: Logits) -> None:
        """Copy `logits` [rows, vocab] to a slot, growing both when it is too small."""
        if logits.nbytes > self._slot_bytes:
            page = mmap.PAGESIZE
            size = -(-2 * logits.nbytes // page) * page  # room for a larger batch
            os.ftruncate(self.fd, 2 * size)
            self._remap(size)
        self._view(slot, logits.shape)[:] = logits

    def get(self, slot: int, slot_bytes: int, rows: int, vocab: int) -> Logits:
        """What was put, in place: valid until the slot is used again."""
        if slot_bytes != self._slot_bytes:
            self._remap(slot_bytes)
        return self._view(slot, (rows, vocab))

    def close(self) -> None:
        os.close(self.fd)

    def _remap(self, slot_bytes: int) -> None:
        self._map = mmap.mmap(self.fd, 2 * slot_bytes)  # the old mapping goes with its last view
        self._slot_bytes = slot_bytes

    def _view(self, slot: int, shape: tuple[int, ...]) -> Logits:
        assert self._map is not None
        count = int(np.prod(shape))
        view = np.frombuffer(self._map, np.float32, count, slot * self._slot_bytes)
        return view.reshape(shape)
