"""`plugins ls`, `plugins show` and `plugins new`; and the plugins that `--help` lists. No torch."""

from __future__ import annotations

from pathlib import Path

import msgspec

from plugins.arguments import Option
from plugins.example import write_example
from plugins.telling import Told, tell, tell_all
from workbench.cli.console import print_json, print_pairs, print_table, say

ALWAYS_ON = frozenset({"exporters", "policies", "views"})
"""Built-in plugins that need no `--plugin`."""


class Written(msgspec.Struct, frozen=True):
    """A package that was written."""

    name: str
    folder: str
    files: tuple[str, ...]


def list_plugins(json: bool) -> None:
    """Every installed plugin, a line each; one that cannot be used says why."""
    told = tell_all()
    if json:
        print_json(told)
        return
    rows = [(each.name, each.version or "-", _source(each), each.problem or each.description) for each in told]
    print_table(("name", "version", "from", ""), rows)


def show_plugin(name: str, json: bool) -> None:
    """What one plugin brings and can be told."""
    told = tell(name)
    if json:
        print_json(told)
        return
    print_pairs(
        [
            ("plugin", f"{told.name} {told.version}, {_source(told)}"),
            ("", told.description),
            *(("brings", _brought(each.kind, each.name, each.meaning)) for each in told.brings),
            *([("problem", told.problem)] if told.problem else []),
        ]
    )
    if told.options:
        print()
        rows = [(each.name, each.type, each.default, each.meaning) for each in told.options]
        print_table(("option", "takes", "default", ""), rows)


def new_plugin(name: str, folder: Path | None, json: bool) -> None:
    """Write a package to begin from."""
    target = folder or Path(name)
    files = write_example(name, target)
    if json:
        print_json(Written(name, str(target), tuple(file.name for file in files)))
        return
    say(f"wrote {target}: {', '.join(file.name for file in files)}; README.md says how to try it")


def help_lines() -> list[tuple[str, str]]:
    """What `--help` says of the plugins that `--plugin` takes: name, then description and options."""
    return [(each.name, _in_help(each)) for each in tell_all() if each.name not in ALWAYS_ON]


def _in_help(told: Told) -> str:
    if told.problem:
        return told.problem
    options = ", ".join(map(_option, told.options))
    return f"{told.description} Options: {options}." if options else told.description


def _option(option: Option) -> str:
    return f"{option.name} ({option.type}; {option.default})"


def _source(told: Told) -> str:
    return "built in" if told.built_in else told.source


def _brought(kind: str, name: str, meaning: str) -> str:
    return f"{kind} {name}" + (f": {meaning}" if meaning else "")
