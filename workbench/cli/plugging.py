"""Plugins and commands put together: what `--plugin` names, what a session ran with, and what a screen shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.plugs import Plugs
from engine.sanitise import display_text
from plugins.arguments import parse_asked, value
from plugins.finding import installed, of_file
from plugins.loading import Loaded, Plugged, load_plugins, plugs_of
from plugins.telling import tell_loaded
from sessions.header import Header, PluginUsed
from workbench.added import Added, AddedCommand, AddedPage, AddedView
from workbench.cli.errors import CommandError


def plugged_in(asked: Sequence[str], files: Sequence[Path] = ()) -> tuple[Plugged, Plugs]:
    """The plugins that are asked for; this process knows their policies from here on. Raises PluginError."""
    plugged = load_plugins(asked, files)
    return plugged, plugs_of(plugged)


def added_by(asked: Sequence[str]) -> Added:
    """What the plugins add to a screen; their formats can be exported to from here on."""
    from workbench.exporting import add_format

    plugged = plugged_in(asked)[0]
    for plugin, exporter in plugged.of_kind("exporter"):
        add_format(plugin, exporter)
    views = [*plugged.of_kind("panel"), *plugged.of_kind("view")]
    return Added(
        tuple(AddedView(plugin, thing) for plugin, thing in views),
        tuple(AddedCommand(plugin, thing) for plugin, thing in plugged.of_kind("command")),
        tuple(_page(each) for each in plugged.plugins),
    )


def _page(loaded: Loaded) -> AddedPage:
    told = tell_loaded(loaded)
    set_to = [f"{each.name} {value(getattr(loaded.options, each.name))}" for each in told.options]
    lines = [
        f"{told.name} {told.version}, {'built in' if told.built_in else told.source}",
        told.description,
        "",
        *(f"brings {each.kind} {each.name}: {each.meaning}".rstrip(": ") for each in told.brings),
        *(f"option {now}: {each.type}, default {each.default}. {each.meaning}".rstrip()
          for each, now in zip(told.options, set_to, strict=True)),
    ]  # fmt: skip
    about = f"{told.description} Options: {', '.join(set_to)}." if set_to else told.description
    return AddedPage(told.name, display_text(about), tuple(map(display_text, lines)))


def files_in(asked: Sequence[str]) -> tuple[Path, ...]:
    """The files among what `--plugin` names."""
    return tuple(Path(each.source) for each in map(parse_asked, asked) if each.is_file)


def used(plugged: Plugged) -> tuple[PluginUsed, ...]:
    """What a session's header says of the plugins it runs with."""
    return tuple(
        PluginUsed(each.name, str(each.plugin.version), each.arguments, each.found.source, each.found.sha256)
        for each in plugged.plugins
    )


def plugged_as_recorded(header: Header, asked: Sequence[str] = ()) -> tuple[Plugged, Plugs]:
    """The plugins of a session, installed or in the files that `asked` names.

    A session is never a reason to run a file: only installed plugins are loaded by name. Raises CommandError
    where one is missing or is not what it was.
    """
    files = files_in(asked)
    here = {*installed(), *(of_file(path)[1].name for path in files)}
    for was in header.plugins:
        if was.name not in here:
            raise CommandError(
                f"this session ran with plugin {was.name} {was.version}, which is not here:"
                " install it, or name its file with --plugin FILE.py"
            )
    plugged, plugs = plugged_in(header.options.plugins, files)
    by_name = {each.name: each for each in plugged.plugins}
    for was in header.plugins:
        _check_same(was, by_name[was.name])
    return plugged, plugs


def _check_same(was: PluginUsed, now: Loaded) -> None:
    if was.version != str(now.plugin.version) or was.sha256 != now.found.sha256:
        raise CommandError(
            f"this session ran with plugin {was.name} {was.version}{_digest(was.sha256)}, and here it is"
            f" {now.plugin.version}{_digest(now.found.sha256)}: install or name the one it ran with"
        )


def _digest(sha256: str) -> str:
    return f" (file {sha256[:12]})" if sha256 else ""
