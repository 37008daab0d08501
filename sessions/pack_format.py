"""What a pack is: a ZIP of a session, the small files of its model, and a manifest with their hashes.

    manifest.json               what follows, with sizes and hashes
    session.wbs                 the session, closed
    model/config.json, …        what a run needs beside the weights

Members are deflated, in this order, and carry neither times nor permissions: the same session gives the same
bytes.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from sessions.errors import SessionError

MANIFEST: Final = "manifest.json"
SESSION: Final = "session.wbs"
MODEL: Final = "model/"
MODEL_FILES: Final = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "chat_template.jinja",
)  # fmt: skip
"""Files of a model folder that are packed where they are there, the needed one first."""
SUFFIX: Final = ".wbpack"
MAX_MANIFEST_BYTES: Final = 1 << 20
MAX_MODEL_FILE_BYTES: Final = 1 << 26
MAX_SESSION_BYTES: Final = 1 << 40
MAX_PACK_BYTES: Final = (1 << 32) - (1 << 16)  # what a ZIP without extensions can address
CHUNK_BYTES: Final = 1 << 20

MEMBERS: Final = (SESSION, *(MODEL + name for name in MODEL_FILES))

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class PackedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A member of the pack: its name, its size when unpacked, and its hash."""

    name: str
    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=MAX_SESSION_BYTES)]
    sha256: Sha256


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a pack. `name` is what the session was called; weights are only named, by their hash."""

    format: Literal["workbench-pack"] = "workbench-pack"
    version: Literal[1] = 1
    name: Annotated[str, msgspec.Meta(max_length=200)]
    model_name: str
    weights_sha256: str
    files: Annotated[tuple[PackedFile, ...], msgspec.Meta(min_length=1, max_length=len(MEMBERS))]


class PackError(SessionError):
    """A pack that cannot be made or taken: what is wrong and what to do, in one line."""


def size_limit(name: str) -> int:
    """The most bytes that member `name` may have."""
    return MAX_SESSION_BYTES if name == SESSION else MAX_MODEL_FILE_BYTES
