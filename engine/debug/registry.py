"""Every command: its name, abbreviations, what it takes and does, and who carries it out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from engine.debug import commands as do
from engine.debug import reading as read
from engine.debug.arguments import Arguments
from engine.debug.commands import Command, Where
from engine.debug.errors import DebugError, nearest

_NAME = re.compile(r"\s*([^\s/:]+)")  # `x/8f` and `commands:` need no space behind it


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """A command; `short` are abbreviations beside any beginning of its name that is no other's."""

    name: str
    short: tuple[str, ...]
    takes: str
    where: Where
    says: str
    read: Callable[[Arguments], Command]

    @property
    def usage(self) -> str:
        return f"{self.name} {self.takes}".rstrip()


REGISTRY: Final = (
    CommandSpec(
        "break", ("b", "br"), "[at STAGE] [if EXPR]", "points",
        "Stop where EXPR holds; at a stage of the forward pass; with neither, at every plan.", read.break_,
    ),
    CommandSpec("tbreak", ("tb",), "[at STAGE] [if EXPR]", "points", "The same, once.", read.tbreak),
    CommandSpec(
        "watch", ("wa",), "EXPR [req N]", "points", "Stop when the value of EXPR changes, and say old → new.",
        read.watch,
    ),
    CommandSpec(
        "catch", ("cat",), "preempt|evict|miss|finish|reject|nan|error [req N]", "points",
        "Stop when a request is preempted, blocks are evicted, a prompt misses the cache, a request ends, one is "
        "refused, a stage has a NaN, or a step or request fails.", read.catch,
    ),
    CommandSpec("condition", ("cond",), "N [EXPR]", "points", "Stop at point N only if EXPR; without, always.",
                read.condition),
    CommandSpec("ignore", ("ign",), "N COUNT", "points", "Let the next COUNT hits of point N pass.", read.ignore),
    CommandSpec("delete", ("d", "del"), "[N …]", "points", "Delete points; without numbers, all.", read.delete),
    CommandSpec("enable", ("en",), "[N …]", "points", "Let points stop again; without numbers, all.",
                read.enable),
    CommandSpec("disable", ("dis",), "[N …]", "points", "Let points stop no more; without numbers, all.",
                read.disable),
    CommandSpec(
        "commands", ("comm",), "[N] [: COMMAND ; …]", "points",
        "Carry out commands at each stop of point N, or of the newest: after a colon, or line by line up to "
        "`end`.", read.commands,
    ),
    CommandSpec(
        "info", ("i",), "breakpoints|requests|queues|blocks|radix|plugins", "look", "Tell what there is.",
        read.info,
    ),
    CommandSpec("print", ("p",), "EXPR", "look", "The value of EXPR.", read.print_),
    CommandSpec(
        "x", (), "[/COUNT FORMAT] STAGE [[req N row R]]", "look",
        "Values of the stage where the forward pass stands, such as x/8f layer(3).attn_out[req 1]. Formats: f "
        "fixed, e exponent, g shortest, x the bits of the float32.", read.examine,
    ),
    CommandSpec("assert", (), "EXPR", "look", "Fail unless EXPR holds now.", read.assert_),
    CommandSpec("next", ("n",), "[COUNT]", "run", "Take COUNT steps, or stop earlier at a point.", read.next_),
    CommandSpec(
        "step", ("s",), "[COUNT]", "run", "Go into the next step's forward pass, and on by COUNT stages.",
        read.into,
    ),
    CommandSpec(
        "continue", ("c",), "", "run", "Run until a point stops it, or no request is left.",
        read.nothing(do.Continue),
    ),
    CommandSpec(
        "until", ("u",), "STEP | STAGE | EXPR", "run",
        "Run to the end of a step, to a stage of the forward pass, or until EXPR holds.", read.until,
    ),
    CommandSpec(
        "advance", ("adv",), "[POSITION]", "run",
        "Run to the next token of the selected request, or to its token at POSITION.", read.advance,
    ),
    CommandSpec(
        "finish", ("fin",), "", "run",
        "Inside a forward pass run to its end; else until the selected request ends.", read.nothing(do.Finish),
    ),
    CommandSpec(
        "abandon", (), "", "run", "Give up the step under way: it is rolled back, and its requests wait again.",
        read.nothing(do.Abandon),
    ),
    CommandSpec(
        "submit", ("sub",), '"PROMPT" [NAME=VALUE …]', "change",
        "Queue a request; settings are max_tokens, temperature, top_k, top_p, min_p, seed, n, priority, …",
        read.submit,
    ),
    CommandSpec(
        "fork", (), "[REQUEST POSITION] [token=… prompt=… off=STAGE scale=STAGE*FACTOR NAME=VALUE …]", "change",
        "Go on from a position of a request with something changed, beside it.", read.fork,
    ),
    CommandSpec(
        "force", (), 'TOKEN [REQUEST POSITION]', "change",
        'Fork with another token there: text in quotes, such as " Paris", or an id.', read.force,
    ),
    CommandSpec("abort", (), "REQUEST", "change", "End a request.", read.abort),
    CommandSpec("preempt", ("pre",), "REQUEST", "change", "Take its blocks from a running request.",
                read.preempt),
    CommandSpec("evict", ("ev",), "block N", "change", "Drop a cached block and those that follow it.",
                read.evict),
    CommandSpec("set", (), "policy NAME", "change", "Admit requests in another order, such as fcfs or lpm.",
                read.set_),
    CommandSpec(
        "rewind", ("rew",), "[--exact] STEP", "change",
        "Take the engine back to the end of STEP, into a new branch; --exact runs the recorded steps again.",
        read.rewind,
    ),
    CommandSpec("goto", ("g",), "STEP | NAME | start | end", "past", "Look at another step.", read.goto),
    CommandSpec("reverse-step", ("rs", "rn"), "[COUNT]", "past", "Look at the step before.", read.reverse_step),
    CommandSpec(
        "reverse-continue", ("rc",), "", "past", "Back to the last stop that a point would have made.",
        read.nothing(do.ReverseContinue),
    ),
    CommandSpec(
        "last", ("l",), "EXPR", "past", "Back to the last change of EXPR; for a block, who wrote it.", read.last,
    ),
    CommandSpec("bookmark", ("bm",), "[NAME]", "past", "Name this step, to go to it later.", read.bookmark),
    CommandSpec(
        "branch", (), "[N]", "past",
        "Look at another branch, at the same step where it has that; alone, list them.", read.branch,
    ),
    CommandSpec("bookmarks", ("bms",), "", "past", "List the bookmarks.", read.nothing(do.Bookmarks)),
    CommandSpec(
        "select", ("sel",), "REQUEST [POSITION]", "shell", "Look at a request, and at one of its tokens.",
        read.select,
    ),
    CommandSpec("help", ("h",), "[COMMAND]", "shell", "What commands there are.", read.help_),
    CommandSpec("quit", ("q",), "", "shell", "End here.", read.nothing(do.Quit)),
)  # fmt: skip

NAMES: Final = {spec.name: spec for spec in REGISTRY}
SHORT: Final = {short: spec for spec in REGISTRY for short in spec.short}


@dataclass(frozen=True, slots=True)
class Line:
    """A line that was read: the command and what is known of it."""

    text: str
    spec: CommandSpec
    command: Command

    @property
    def where(self) -> Where:
        return self.spec.where


def read_line(text: str) -> Line:
    """The command in `text`, whose expressions are not checked yet. Raises DebugError, in one line."""
    text = text.rstrip()
    name = _NAME.match(text)
    if name is None:
        raise DebugError("say what to do: `help` lists the commands")
    spec = find(name[1])
    return Line(text, spec, spec.read(Arguments(text, name.end(), spec.usage)))


def find(word: str) -> CommandSpec:
    """The command of that name or abbreviation. Raises DebugError when there is none, or more than one."""
    if spec := NAMES.get(word) or SHORT.get(word):
        return spec
    begun = [spec for spec in REGISTRY if spec.name.startswith(word)]
    if len(begun) > 1:
        raise DebugError(f"{word!r} could be {', '.join(spec.name for spec in begun)}: write more of it")
    if not begun:
        raise DebugError(f"there is no command {word!r}{nearest(word, NAMES)}; `help` lists them")
    return begun[0]


def help_lines(about: str | None = None) -> tuple[str, ...]:
    """What a command does, or a line for each."""
    if about is None:
        width = max(len(spec.usage) for spec in REGISTRY if len(spec.usage) < 34)
        return tuple(f"{spec.usage:<{width}}  {spec.says}" for spec in REGISTRY)
    spec = find(about)
    short = f"  ({', '.join(spec.short)})" if spec.short else ""
    return (f"{spec.usage}{short}", spec.says)


__all__ = ["NAMES", "REGISTRY", "SHORT", "CommandSpec", "Line", "find", "help_lines", "read_line"]
