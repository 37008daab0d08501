"""The debugger's pages hold every name and every command, in the words of the program."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.debug.names import IN_LAYER, OUTSIDE_STAGES, SPECS, STATISTICS, NameSpec
from engine.debug.registry import REGISTRY, CommandSpec, find

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("name", SPECS, ids=lambda name: name.form)
def test_every_name_is_documented(name: NameSpec) -> None:
    assert f"| `{name.form}` | {name.type} | {name.says} |" in (DOCS / "expressions.md").read_text()


def test_every_stage_and_statistic_is_documented() -> None:
    page = (DOCS / "expressions.md").read_text()
    for name in (*IN_LAYER, *OUTSIDE_STAGES, *STATISTICS):
        assert f"`{name}`" in page


@pytest.mark.parametrize("command", REGISTRY, ids=lambda command: command.name)
def test_every_command_is_documented(command: CommandSpec) -> None:
    page = (DOCS / "debugger.md").read_text()
    assert f"| `{command.usage.replace('|', chr(92) + '|')}` |" in page
    assert command.says.replace("|", "\\|") in page


def test_no_abbreviation_stands_for_two_commands() -> None:
    names = [name for command in REGISTRY for name in (command.name, *command.short)]
    assert len(names) == len(set(names))
    for command in REGISTRY:
        assert all(find(name) is command for name in (command.name, *command.short))
