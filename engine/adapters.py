"""Adapters as a run asks for them, `NAME=FOLDER`, and which of them a request may name. No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.option_error import OptionError

MERGED = ",merged"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class AdapterAsked:
    """An adapter folder under the name that requests give; `merged`: into the weights, for every request."""

    name: str
    folder: Path
    merged: bool


def parse_adapters(asked: Sequence[str]) -> tuple[AdapterAsked, ...]:
    """The adapters in options such as `fr=adapters/fr` and `fr=adapters/fr,merged`. Raises OptionError."""
    found = tuple(map(_parse, asked))
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"adapter {name} is named {names.count(name)} times: give each a name of its own")
    return found


def _parse(text: str) -> AdapterAsked:
    name, equals, folder = text.removesuffix(MERGED).partition("=")
    if not equals or not folder:
        raise OptionError(f"adapter is {text!r}: write NAME=FOLDER, or NAME=FOLDER{MERGED}")
    if not NAME.fullmatch(name):
        raise OptionError(f"adapter is {text!r}: its name must be letters, digits, -, _ and . (at most 64)")
    return AdapterAsked(name, Path(folder), text.endswith(MERGED))


def check_known(name: str, asked: Sequence[str]) -> None:
    """Raise OptionError, in one line, unless requests of a run with these adapters may name `name` ("": none)."""
    adapters = {each.name: each for each in parse_adapters(asked)} if name else {}
    if not name or (name in adapters and not adapters[name].merged):
        return
    if name in adapters:
        raise OptionError(f"adapter is {name!r}: it is merged into the weights, so requests name none")
    known = ", ".join(each.name for each in adapters.values() if not each.merged)
    there = f"it has {known}" if known else "start it with --adapter NAME=FOLDER"
    raise OptionError(f"adapter is {name!r}, and this run has none of that name: {there}")
