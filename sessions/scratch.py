"""Memory that two processes share: two slots through which a step's logits pass without being piped."""

from __future__ import annotations

import mmap
import os
import tempfile

import msgspec
import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where logits [rows, vocab] lie: in which slot, of how many bytes."""

    slot: int
    slot_bytes: int
    rows: int
    vocab: int


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

    def holds(self, logits: Logits) -> bool:
        """Whether a slot is large enough for `logits`."""
        return logits.nbytes <= self._slot_bytes

    def put(self, slot: int, logits: Logits) -> Place:
        """Copy `logits` [rows, vocab] to a slot, growing both when it is too small: nobody may read then."""
        if not self.holds(logits):
            page = mmap.PAGESIZE
            size = -(-2 * logits.nbytes // page) * page  # room for a larger batch
            os.ftruncate(self.fd, 2 * size)
            self._remap(size)
        place = Place(slot, self._slot_bytes, *logits.shape)
        self._view(place)[:] = logits
        return place

    def get(self, place: Place) -> Logits:
        """What was put, in place: valid until the slot is used again."""
        if place.slot_bytes != self._slot_bytes:
            self._remap(place.slot_bytes)
        return self._view(place)

    def close(self) -> None:
        os.close(self.fd)

    def _remap(self, slot_bytes: int) -> None:
        self._map = mmap.mmap(self.fd, 2 * slot_bytes)  # the old mapping goes with its last view
        self._slot_bytes = slot_bytes

    def _view(self, place: Place) -> Logits:
        assert self._map is not None
        view = np.frombuffer(self._map, np.float32, place.rows * place.vocab, place.slot * self._slot_bytes)
        return view.reshape(place.rows, place.vocab)
