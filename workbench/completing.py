"""Completion of the command line: what the debugger's registry, its names and the session offer for a word."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.debug.errors import DebugError
from engine.debug.names import BLOCK, OF_REQUEST, SPECS, STATISTICS
from engine.debug.registry import REGISTRY, CommandSpec, find
from engine.model.stage_names import FIRST_STAGES, LAST_STAGES, LAYER_STAGES

STAGES = (*FIRST_STAGES, *LAYER_STAGES, *LAST_STAGES)
POLICIES = ("fcfs", "lpm")
_MEMBERS = re.compile(r"(?P<of>layer\(\d+\)|block\(\d+\)|request\([^)]*\)|req|\w+)\.(?P<word>\w*)$")
_STATISTIC = re.compile(r"(?:layer\(\d+\)\.)?(?P<stage>\w+)\.(?P<word>\w*)$")
_OBJECTS: Mapping[str, Iterable[str]] = {
    "layer": LAYER_STAGES, "block": BLOCK, "request": OF_REQUEST, "req": OF_REQUEST,
}  # fmt: skip
_WORD = re.compile(r"[\w.-]*$")
_LITERALS = re.compile(r"(?<![\w…])([a-z][a-z-]+=?)(?![A-Za-z])")


@dataclass(frozen=True)
class Offered:
    """What the session on the screen has to offer."""

    requests: Sequence[str] = ()
    bookmarks: Sequence[str] = ()
    commands: Sequence[str] = ()  # of plugins
    panels: Sequence[str] = ()


class Completion(NamedTuple):
    """Words that could stand in the line from `start` on, up to the cursor."""

    start: int
    words: Sequence[str]

    @property
    def common(self) -> str:
        """What all of them begin with."""
        first, last = min(self.words), max(self.words)
        return next((first[:n] for n in range(len(first)) if first[n] != last[n : n + 1]), first)


def complete(text: str, offered: Offered) -> Completion:
    """What could stand at the end of `text`, in alphabetical order."""
    verb = re.match(r"\s*([\w-]+)(?=[\s/])", text)
    if verb is None:
        names = [*(spec.name for spec in REGISTRY), *offered.commands, *(["panel"] if offered.panels else [])]
        return _of(text, len(text) - len(text.lstrip()), names)
    if verb[1] == "panel":
        return _of(text, _WORD.search(text).start(), offered.panels)  # type: ignore[union-attr]
    try:
        spec = find(verb[1])
    except DebugError:
        return Completion(len(text), ())
    if (member := _member(text)) is not None:
        return member
    start = _WORD.search(text).start()  # type: ignore[union-attr]
    return _of(text, start, _arguments(spec, offered))


def _member(text: str) -> Completion | None:
    """Parts of an object: after `layer(3).`, `attn_out.`, `block(1).`, `request(2).`."""
    found = _MEMBERS.search(text)
    if found is None:
        return None
    kind = found["of"].partition("(")[0]
    names: Iterable[str] = {"layer": LAYER_STAGES, "block": BLOCK, "request": OF_REQUEST, "req": OF_REQUEST}.get(
        kind, ()
    )
    statistic = _STATISTIC.search(text)
    if not names and statistic is not None and statistic["stage"] in STAGES:
        names = STATISTICS
    return _of(text, found.start("word"), names) if names else None


def _arguments(spec: CommandSpec, offered: Offered) -> list[str]:
    """What a command may take: the words its usage has, and what its capitals stand for."""
    words = _LITERALS.findall(spec.takes)
    if "EXPR" in spec.takes:
        words += expression_words()
    if "STAGE" in spec.takes and "EXPR" not in spec.takes:
        words += [*FIRST_STAGES, *LAST_STAGES, "layer("]
    if "REQUEST" in spec.takes or "req N" in spec.takes:
        words += offered.requests
    if spec.name == "goto":
        words += offered.bookmarks
    if spec.name == "set":
        words += POLICIES
    if spec.name == "help":
        words += [each.name for each in REGISTRY]
    return words


def expression_words() -> list[str]:
    """How every name of the expression language begins."""
    forms = [spec.form for spec in SPECS]
    begun = [form.partition("(")[0] + ("(" if "(" in form else "") for form in forms]
    return [*(word for word in begun if not word[:1].isupper()), "and", "or", "not", *FIRST_STAGES, *LAST_STAGES]


def _of(text: str, start: int, words: Iterable[str]) -> Completion:
    begun = text[start:]
    return Completion(start, sorted({word for word in words if word.startswith(begun)}))


__all__ = ["Completion", "Offered", "complete", "expression_words"]
