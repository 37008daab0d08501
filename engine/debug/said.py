"""What the debugger answers: plain data that goes over the channel, with lines for a person to read."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

When = Literal["planned", "inside", "committed", "failed"]
"""Between plan and execute, between stages of the forward pass, after commit, or after a step was rolled back."""

Plainly: TypeAlias = float | int | bool | str | None

Why = Literal["break", "watch", "catch", "until", "advance", "finish", "assert"]
Caught = Literal["preempt", "evict", "miss", "finish", "reject", "nan", "error"]
CAUGHT: tuple[Caught, ...] = ("preempt", "evict", "miss", "finish", "reject", "nan", "error")


class Named(msgspec.Struct, frozen=True):
    """A name of an expression, its value, and how a person reads it."""

    name: str
    value: Plainly
    text: str


class Stop(msgspec.Struct, frozen=True):
    """A run was halted `when` and `why`, by point number `point` (0: by a command that ran up to here).

    `expression` is the point's, with the `values` of its names; a watchpoint says `old` and `new`. `happened`
    are the sentences of what was caught. `request` and `position` say whose token, `layer` (-1 outside) and
    `stage` where in the forward pass. `more` counts other hits of the same point at the same moment, `also` are
    other points that were hit then.
    """

    why: Why
    when: When
    branch: int
    step: int
    point: int = 0
    temporary: bool = False
    expression: str = ""
    request: str | None = None
    position: int | None = None
    layer: int | None = None
    stage: str | None = None
    values: tuple[Named, ...] = ()
    old: str | None = None
    new: str | None = None
    happened: tuple[str, ...] = ()
    hits: int = 0
    more: int = 0
    also: tuple[int, ...] = ()


class PointInfo(msgspec.Struct, frozen=True):
    """A point as `info breakpoints` lists it. `ignore` hits are still to be let pass, of `let_pass` in all."""

    number: int
    kind: Literal["break", "watch", "catch"]
    temporary: bool
    enabled: bool
    expression: str
    layer: int | None
    stage: str | None
    event: Caught | None
    request: str | None
    ignore: int
    hits: int
    commands: tuple[str, ...] = ()
    let_pass: int = 0


class Shown(msgspec.Struct, frozen=True):
    """The answer to a command: lines to read, and what they say as data where that is more than lines.

    `goto` is a step (and its branch) where the cursor moves to, `select` a request and position that the
    answer speaks of, `requests` are ids that were made.
    """

    lines: tuple[str, ...] = ()
    values: tuple[Named, ...] = ()
    stop: Stop | None = None
    goto: tuple[int, int] | None = None  # branch, step
    select: tuple[str, int | None] | None = None
    requests: tuple[str, ...] = ()


def place_text(layer: int | None, stage: str | None) -> str:
    """A place in the forward pass as expressions write it: `layer(3).attn_out`, `logits`."""
    return f"{stage}" if layer is None or layer < 0 else f"layer({layer}).{stage}"


def sentence(stop: Stop) -> str:
    """Where, why and with which values a run was halted, in one line."""
    return f"{_who(stop)}, {_where(stop)}{_what(stop)}"


def _who(stop: Stop) -> str:
    match stop.why:
        case "break" | "watch" | "catch":
            kind = {"break": "breakpoint", "watch": "watchpoint", "catch": "catchpoint"}[stop.why]
            return f"{'temporary ' if stop.temporary else ''}{kind} {stop.point}"
        case "assert":
            return "assertion failed"
    return stop.why


def _where(stop: Stop) -> str:
    request = "" if stop.request is None else f" request {stop.request}"
    position = "" if stop.position is None else f" position {stop.position}"
    branch = f" of branch {stop.branch}" if stop.branch else ""
    match stop.when:
        case "planned":
            when = f"step {stop.step}{branch} is planned and not computed"
        case "inside":
            when = f"inside step {stop.step}{branch} at {place_text(stop.layer, stop.stage)}"
        case "failed":
            when = f"step {stop.step}{branch} has failed and was rolled back"
        case _:
            when = f"after step {stop.step}{branch}"
    return when + (f",{request}{position}" if request else "")


def _what(stop: Stop) -> str:
    parts = list(stop.happened)
    if stop.old is not None or stop.new is not None:
        parts.append(f"{stop.expression}: {stop.old} → {stop.new}")
    elif stop.expression:
        values = ", ".join(f"{each.name} {each.text}" for each in stop.values)
        parts.append(f"{stop.expression}" + (f"  ({values})" if values else ""))
    if stop.more:
        parts.append(f"and {stop.more} more at this moment")
    if stop.also:
        parts.append(f"point{'s' if len(stop.also) > 1 else ''} {', '.join(map(str, stop.also))} too")
    return ": " + "; ".join(parts) if parts else ""
