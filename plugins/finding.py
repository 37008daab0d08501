"""Where plugins are: entry points of the group `workbench.plugins`, and files that a user names.

Our own are declared as entry points too. In a checkout they are read from where they are declared, so that they
are there before, and whatever, an installation says.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from engine.plug_guard import PluginFailedError, call_hook
from plugins.errors import PluginError

T = TypeVar("T")

GROUP: Final = "workbench.plugins"
OURS: Final = "llm-workbench"
LOADING_S: Final = 20.0
"""How long a plugin may take to be imported, and again to provide what it brings."""
_PROJECT: Final = Path(__file__).resolve().parent.parent / "pyproject.toml"
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")


class Found(NamedTuple):
    """Where a plugin is: the distribution of an entry point, or a file with the SHA-256 of what it says."""

    name: str
    source: str
    entry: EntryPoint | None = None
    file: Path | None = None
    sha256: str = ""

    @property
    def built_in(self) -> bool:
        return self.source == OURS


@cache
def installed() -> dict[str, tuple[Found, ...]]:
    """Plugins that are installed, by name: several where names clash. Nothing is imported."""
    found: dict[str, list[Found]] = {}
    for each in (*_our_own(), *_others()):
        found.setdefault(each.name, []).append(each)
    return {name: tuple(several) for name, several in found.items()}


def _our_own() -> list[Found]:
    if not _PROJECT.is_file():
        return [_found(each) for each in entry_points(group=GROUP) if _owner(each) == OURS]
    declared = tomllib.loads(_PROJECT.read_text())["project"].get("entry-points", {}).get(GROUP, {})
    return [Found(name, OURS, EntryPoint(name, value, GROUP)) for name, value in declared.items()]


def _others() -> list[Found]:
    return [_found(each) for each in entry_points(group=GROUP) if _owner(each) != OURS]


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "unknown"


def _found(entry: EntryPoint) -> Found:
    return Found(entry.name, _owner(entry), entry)


def find(name: str) -> Found:
    """The installed plugin of that name. Raises PluginError where there is none, or more than one."""
    several = installed().get(name, ())
    if not several:
        raise PluginError(f"there is no plugin {name}: `workbench plugins ls` lists those that are installed")
    if len(several) > 1:
        owners = " and ".join(each.source for each in several)
        raise PluginError(f"plugin {name} is in {owners}: uninstall one, or name a file with --plugin FILE.py")
    return several[0]


def load(found: Found) -> Any:
    """The plugin's object. Raises PluginError where it cannot be imported or is no plugin."""
    return _checked(found, call_in_time(found.name, "import", lambda: _import(found)))


def call_in_time(plugin: str, what: str, call: Callable[[], T]) -> T:
    """What `call` returns. Raises PluginError instead of whatever it raises, and after `LOADING_S`."""
    try:
        return call_hook(plugin, what, call, LOADING_S)
    except PluginFailedError as failure:
        if isinstance(failure.__cause__, PluginError):
            raise failure.__cause__ from None
        raise PluginError(str(failure)) from failure


def _import(found: Found) -> Any:
    try:
        thing = found.entry.load() if found.entry is not None else _of_file(found)
        return thing() if isinstance(thing, type) else thing
    except SystemExit as error:
        raise PluginError(f"plugin {found.name}: import raised SystemExit: {error}") from error


def _checked(found: Found, plugin: Any) -> Any:
    for attribute, kind in (("name", str), ("version", str), ("description", str), ("options", type)):
        if not isinstance(getattr(plugin, attribute, None), kind):
            raise PluginError(f"plugin {found.name} has no {attribute}: see docs/plugins.md for what a plugin is")
    if not issubclass(plugin.options, msgspec.Struct) or not callable(getattr(plugin, "provide", None)):
        raise PluginError(f"plugin {found.name}: options must be a msgspec.Struct, and provide a method")
    if not _NAME.fullmatch(plugin.name):
        raise PluginError(f"plugin {found.name} is called {plugin.name!r}: use small letters, digits and -")
    if found.entry is not None and plugin.name != found.name:
        raise PluginError(f"plugin {plugin.name} is registered as {found.name}: both must be the same")
    return plugin


def of_file(path: Path) -> tuple[Found, Any]:
    """The plugin in a file: its class `Plugin`, or its object `plugin`. Raises PluginError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PluginError(f"plugin {path} cannot be read: {error.strerror or error}") from error
    found = Found(path.stem, "file", None, path.resolve(), hashlib.sha256(data).hexdigest())
    plugin = load(found)
    if plugin.name in installed():
        raise PluginError(f"plugin {plugin.name} of {path} has the name of an installed one: rename it")
    return found._replace(name=plugin.name), plugin


def _of_file(found: Found) -> Any:
    assert found.file is not None
    name = f"workbench_plugin_{found.sha256[:16]}"
    spec = importlib.util.spec_from_file_location(name, found.file)
    if spec is None or spec.loader is None:
        raise PluginError(f"plugin {found.file} is no Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # msgspec looks the types of options up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    for attribute in ("Plugin", "plugin"):
        if attribute in module.__dict__:
            return module.__dict__[attribute]
    raise PluginError(f"plugin {found.file} has neither a class Plugin nor an object plugin")
