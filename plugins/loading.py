"""From what was asked for to what an engine and a screen use: found, imported, configured and checked once."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from engine import admission
from engine.details import STAGES
from engine.drafts import GuardedDrafter
from engine.kv import eviction
from engine.plugs import GuardedEviction, GuardedPolicy, Plugs
from engine.plugs_kv import GuardedKVPolicy
from plugins.arguments import Asked, parse_asked, read_options
from plugins.contract import CAPABILITIES
from plugins.errors import PluginError
from plugins.finding import Found, call_in_time, find, load, of_file


@dataclass(frozen=True, slots=True)
class Capability:
    """Something a plugin brings: what kind of thing, its name where it has one of its own, and the object."""

    kind: str
    name: str
    thing: Any


@dataclass(frozen=True, slots=True)
class Loaded:
    """A plugin with its options; `capabilities` are what it provided with them."""

    found: Found
    plugin: Any
    arguments: str
    options: msgspec.Struct
    capabilities: tuple[Capability, ...]

    @property
    def name(self) -> str:
        return str(self.plugin.name)

    @property
    def asked(self) -> str:
        """How a session names it again: `NAME` or `NAME=OPTIONS`."""
        return f"{self.name}={self.arguments}" if self.arguments else self.name


@dataclass(slots=True)
class Plugged:
    """The plugins of one run, in the order they were asked for."""

    plugins: list[Loaded] = field(default_factory=list)

    @property
    def asked(self) -> tuple[str, ...]:
        return tuple(each.asked for each in self.plugins)

    def of_kind(self, kind: str) -> list[tuple[str, Any]]:
        """Pairs of plugin and object."""
        return [
            (each.name, made.thing) for each in self.plugins for made in each.capabilities if made.kind == kind
        ]


def load_plugins(asked: Sequence[str], files: Sequence[Path] = ()) -> Plugged:
    """Load what `asked` names, installed or in one of `files`. Raises PluginError, in one line."""
    in_files = {plugin.name: (found, plugin) for found, plugin in map(of_file, files)}
    plugged = Plugged()
    for each in map(parse_asked, asked):
        _add(plugged, _load(each, in_files))
    return plugged


def _add(plugged: Plugged, loaded: Loaded) -> None:
    for other in plugged.plugins:
        if other.name == loaded.name:
            raise PluginError(f"plugin {loaded.name} is given twice: leave one out")
        for made in loaded.capabilities:
            for before in other.capabilities:
                if made.kind == before.kind and (made.name == before.name or made.kind in _ONE_IN_A_RUN):
                    what = f"{made.kind} {made.name}" if made.name == before.name else made.kind
                    what = f"an {what}" if what[0] in "ei" else f"a {what}"
                    raise PluginError(f"both {other.name} and {loaded.name} bring {what}: use one of them")
        _check_together(other, loaded)
    plugged.plugins.append(loaded)


def _check_together(one: Loaded, other: Loaded) -> None:
    """Raise PluginError where one drafts and the other drops what drafts are verified against."""
    kinds = {made.kind: each.name for each in (one, other) for made in each.capabilities}
    if {"drafter", "KV policy"} <= kinds.keys():
        drafts, drops = kinds["drafter"], kinds["KV policy"]
        raise PluginError(f"{drafts} drafts tokens and {drops} drops KV: a run can have one of them, not both")


def _load(asked: Asked, in_files: dict[str, tuple[Found, Any]]) -> Loaded:
    if asked.is_file:
        found, plugin = of_file(Path(asked.source))
    elif asked.source in in_files:
        found, plugin = in_files[asked.source]
    else:
        found = find(asked.source)
        plugin = load(found)
    return configure(found, plugin, asked.arguments)


def configure(found: Found, plugin: Any, arguments: str) -> Loaded:
    """The plugin with its options read and what it brings checked. Raises PluginError."""
    options = read_options(plugin.name, plugin.options, arguments)
    provided = call_in_time(plugin.name, "provide", lambda: tuple(plugin.provide(options)))
    capabilities = tuple(made for thing in provided for made in _capabilities(plugin.name, thing))
    if not found.built_in:
        for made in capabilities:
            _check_name(plugin.name, made)
    return Loaded(found, plugin, arguments, options, capabilities)


def _capabilities(plugin: str, thing: Any) -> list[Capability]:
    kinds = [kind for kind, (method, _) in CAPABILITIES.items() if hasattr(thing, method)]
    if not kinds:
        what = type(thing).__name__
        raise PluginError(f"plugin {plugin} provides {what}, which has no hook of docs/plugins.md")
    for kind in kinds:
        _check_hook(plugin, kind, thing)
    return [Capability(kind, str(getattr(thing, "name", plugin)), thing) for kind in kinds]


def _check_hook(plugin: str, kind: str, thing: Any) -> None:
    """Raise PluginError where `thing` lacks what its protocol has, or its hook takes other arguments."""
    method, protocol = CAPABILITIES[kind]
    for attribute in protocol.__annotations__:
        if not hasattr(thing, attribute):
            raise PluginError(f"plugin {plugin}: its {kind} has no {attribute}")
    wanted = list(inspect.signature(getattr(protocol, method)).parameters)[1:]
    hook = getattr(thing, method)
    try:
        inspect.signature(hook).bind(*wanted)
    except TypeError:
        has = ", ".join(inspect.signature(hook).parameters)
        raise PluginError(f"plugin {plugin}: {method}({has}) must take ({', '.join(wanted)})") from None
    except ValueError:
        raise PluginError(f"plugin {plugin}: {method} is no Python function") from None


_ONE_IN_A_RUN = frozenset({"weight transform", "KV store", "KV policy", "KV host", "drafter"})

_BUILT_IN = {
    "scheduling policy": frozenset(admission.POLICIES),
    "eviction policy": frozenset(eviction.POLICIES),
}


def _check_name(plugin: str, made: Capability) -> None:
    if made.name in _BUILT_IN.get(made.kind, ()):
        raise PluginError(f"plugin {plugin}: the {made.kind} {made.name} is built in: give its own another name")
    if made.kind in ("sampler transform", "sampler filter"):
        raise PluginError(
            f"plugin {plugin}: a {made.kind} follows from a request's settings, and sessions know only those that"
            " are built in: bring a logits processor instead"
        )
    if made.kind == "logits processor" and plugin in STAGES:
        raise PluginError(f"plugin {plugin} has the name of a sampler stage, as its own would have: rename it")


def plugs_of(plugged: Plugged) -> Plugs:
    """What an engine asks; its policies become known to this process."""
    plugs = Plugs()
    for plugin, thing in plugged.of_kind("scheduling policy"):
        plugs.policies[thing.name] = plugin
        admission.POLICIES[thing.name] = GuardedPolicy(plugin, thing)
    for plugin, thing in plugged.of_kind("eviction policy"):
        plugs.evictions[thing.name] = plugin
        eviction.POLICIES[thing.name] = GuardedEviction(plugin, thing)
    plugs.processors = plugged.of_kind("logits processor")
    plugs.transform = next(iter(plugged.of_kind("weight transform")), None)
    for plugin, thing in plugged.of_kind("KV policy"):
        plugs.kv_policy = GuardedKVPolicy(plugin, thing)
    plugs.kv_host = next(iter(plugged.of_kind("KV host")), None)
    plugs.store = next(iter(plugged.of_kind("KV store")), None)
    for plugin, thing in plugged.of_kind("drafter"):
        plugs.drafter = GuardedDrafter(plugin, thing)
    return plugs
