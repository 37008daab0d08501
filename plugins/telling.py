"""What there is to say of a plugin: who brings it, its options, and its capabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from plugins.arguments import Option, options_of
from plugins.errors import PluginError
from plugins.finding import Found, find, installed, load, of_file
from plugins.loading import Loaded, configure


class Brings(msgspec.Struct, frozen=True):
    """One thing that a plugin brings; `name` is what its flag or command calls it."""

    kind: str
    name: str
    meaning: str


class Told(msgspec.Struct, frozen=True):
    """A plugin. `brings` is what it provides with its default options; `problem` is why it cannot be used."""

    name: str
    version: str = ""
    description: str = ""
    source: str = ""
    built_in: bool = False
    options: tuple[Option, ...] = ()
    brings: tuple[Brings, ...] = ()
    problem: str | None = None


def tell_all() -> list[Told]:
    """Every installed plugin, the project's own first. One that cannot be imported says so."""
    everyone = [found for several in installed().values() for found in several]
    ordered = sorted(everyone, key=lambda found: (not found.built_in, found.name))
    return [tell_found(found, clash=len(installed()[found.name]) > 1) for found in ordered]


def tell(name: str) -> Told:
    """The plugin of that name, or in that file. Raises PluginError."""
    if name.endswith(".py") or "/" in name:
        return _told(*of_file(Path(name)))
    found = find(name)
    return _told(found, load(found))


def tell_found(found: Found, *, clash: bool = False) -> Told:
    """The plugin, or what is wrong with it."""
    try:
        if clash:
            find(found.name)
        return _told(found, load(found))
    except PluginError as error:
        return Told(found.name, source=found.source, built_in=found.built_in, problem=str(error))


def tell_loaded(loaded: Loaded) -> Told:
    """A plugin that is in use; `brings` is what it provided with the options it has."""
    brings = tuple(Brings(each.kind, each.name, _meaning(each.thing)) for each in loaded.capabilities)
    return msgspec.structs.replace(_told(loaded.found, loaded.plugin), brings=brings, problem=None)


def _told(found: Found, plugin: Any) -> Told:
    return Told(
        plugin.name, str(plugin.version), plugin.description, found.source, found.built_in,
        tuple(options_of(plugin.options)), *_brings(found, plugin),
    )  # fmt: skip


def _brings(found: Found, plugin: Any) -> tuple[tuple[Brings, ...], str | None]:
    if any(option.default == "required" for option in options_of(plugin.options)):
        return (), None
    try:
        made = configure(found, plugin, "").capabilities
    except PluginError as error:
        return (), str(error)
    return tuple(Brings(each.kind, each.name, _meaning(each.thing)) for each in made), None


def _meaning(thing: Any) -> str:
    return str(getattr(thing, "meaning", "") or getattr(thing, "question", ""))


__all__ = ["Brings", "Told", "tell", "tell_all", "tell_found", "tell_loaded"]
