"""Evicted blocks in files of the host, each with a digest of what it holds, in a temporary folder of the run."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    from torch import Tensor


class OffloadOptions(msgspec.Struct, frozen=True):
    blocks: Annotated[int, msgspec.Meta(ge=1, le=1 << 24, description="Blocks that are kept at most.")] = 4096
    folder: Annotated[str, msgspec.Meta(description="Where the run makes its temporary folder.")] = ""


class DamagedFileError(ValueError):
    """A file does not hold what was written to it."""


class UnwritableFolderError(OSError):
    """There is no folder to keep files in."""


class HostFiles:
    """One safetensors file a block. The folder is made when the first is written, and deleted with the run."""

    def __init__(self, options: OffloadOptions) -> None:
        self.host_blocks = options.blocks
        self._where = options.folder or None
        self._folder: Path | None = None

    def keep_block(self, key: int, tensors: Sequence[Tensor]) -> None:
        from safetensors.torch import save_file

        named = {str(number): tensor.contiguous() for number, tensor in enumerate(tensors)}
        path = self._path(key)
        half = path.with_suffix(".part")
        save_file(named, half, {"xxh3": _digest(list(named.values()))})
        half.replace(path)

    def give_block(self, key: int) -> Sequence[Tensor]:
        from safetensors import SafetensorError, safe_open

        path = self._path(key)
        if not path.is_file():
            raise DamagedFileError("the file is not there")
        try:
            with safe_open(path, "pt") as file:
                tensors = [file.get_tensor(str(number)) for number in range(len(file.keys()))]
                digest = (file.metadata() or {}).get("xxh3")
        except SafetensorError as error:
            raise DamagedFileError(f"the file is damaged: {error}") from error
        if digest != _digest(tensors):
            raise DamagedFileError("the file is damaged: its digest is another one")
        return tensors

    def forget_block(self, key: int) -> None:
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: int) -> Path:
        if self._folder is None:
            self._folder = self._made()
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder / f"{key:014x}.safetensors"

    def _made(self) -> Path:
        try:
            return Path(tempfile.mkdtemp(prefix="workbench-kv-", dir=self._where))
        except OSError as error:
            where = self._where or tempfile.gettempdir()
            raise UnwritableFolderError(f"folder {where} cannot be written: {error.strerror}") from error


def _digest(tensors: Sequence[Tensor]) -> str:
    """Of the bytes of all tensors, one after the other."""
    import torch
    import xxhash

    state = xxhash.xxh3_64()
    for tensor in tensors:
        state.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return state.hexdigest()


class Offload:
    """Always asked to keep what eviction would lose; requests that come back to it compute none of it again."""

    name = "offload"
    version = "1"
    description = "Keeps evicted blocks in host files and reads them back; output stays the same."
    options = OffloadOptions

    def provide(self, options: OffloadOptions) -> Sequence[HostFiles]:
        return (HostFiles(options),)
