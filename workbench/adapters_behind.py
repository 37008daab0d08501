"""The adapters of a recording: where they lie now, and whether they are still what it ran with. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.adapters import MERGED, AdapterAsked, parse_adapters
from sessions.header import AdapterUsed, Header


class AdapterMissingError(RuntimeError):
    """An adapter of a recording is not here, or is another one now: one line."""


def adapters_used(asked: Sequence[str]) -> tuple[AdapterUsed, ...]:
    """What a session's header says of the adapters that a run asks for; reads all of their files."""
    from engine.model.lora.files import adapter_sha256

    return tuple(
        AdapterUsed(each.name, str(each.folder), each.merged, adapter_sha256(each.folder))
        for each in parse_adapters(asked)
    )


def adapters_of(header: Header, moved: Mapping[str, Path] | None = None) -> tuple[str, ...]:
    """The option `adapters` of a recorded run, checked by their hashes; `moved` says where some lie now.

    Raises AdapterMissingError. Reads all of their files.
    """
    return tuple(_checked(was, (moved or {}).get(was.name, Path(was.folder))) for was in header.adapters)


def moved_adapters(given: Sequence[str]) -> dict[str, Path]:
    """Folders by name, from `NAME=FOLDER`. Raises OptionError."""
    return {each.name: each.folder for each in parse_adapters(given)}


def written(adapter: AdapterAsked) -> str:
    """An adapter as the option says it."""
    return f"{adapter.name}={adapter.folder}{MERGED if adapter.merged else ''}"


def _checked(was: AdapterUsed, folder: Path) -> str:
    from engine.model.lora.files import adapter_sha256

    try:
        found = adapter_sha256(folder)
    except OSError as error:
        raise AdapterMissingError(
            f"adapter {was.name} of this recording was in {folder}: {error.strerror}"
        ) from None
    if found != was.sha256:
        raise AdapterMissingError(
            f"{folder} holds another adapter now than {was.name} of this recording: its SHA-256 begins with"
            f" {found[:8]}, not with {was.sha256[:8]}"
        )
    return written(AdapterAsked(was.name, folder, was.merged))


__all__ = ["AdapterMissingError", "adapters_of", "adapters_used", "moved_adapters", "written"]
