"""What a person can tell the debugger, as data: the result of reading a line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from engine.debug.said import Caught
from engine.interventions import Scale
from engine.params import Policy, SamplingParams

Where = Literal["points", "look", "run", "change", "past", "shell"]
"""Who carries a command out.

points   whoever keeps the points: the engine while there is one, else the record
look     the engine at the live end of a run, the record in the past
run      the engine: it goes on
change   the engine: something is different from here on
past     the record: the cursor moves, nothing happens
shell    whoever reads the lines
"""


@dataclass(frozen=True, slots=True)
class Source:
    """Text of an expression, and where in its line it stands."""

    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Whose:
    """A request and, where one is meant, a position of it."""

    request: str
    position: int | None = None


# -- points -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Break:
    condition: Source | None
    place: Source | None = None
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Watch:
    expression: Source
    request: str | None = None


@dataclass(frozen=True, slots=True)
class Catch:
    event: Caught
    request: str | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    number: int
    condition: Source | None


@dataclass(frozen=True, slots=True)
class Ignore:
    number: int
    count: int


@dataclass(frozen=True, slots=True)
class Delete:
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Enable:
    numbers: tuple[int, ...]
    enabled: bool


@dataclass(frozen=True, slots=True)
class Commands:
    """`lines` to carry out at each stop of point `number` (None: the newest)."""

    number: int | None
    lines: tuple[str, ...] = ()


# -- looking ------------------------------------------------------------------------------------------

InfoTopic = Literal["breakpoints", "requests", "queues", "blocks", "radix", "plugins"]
INFO_TOPICS: tuple[InfoTopic, ...] = ("breakpoints", "requests", "queues", "blocks", "radix", "plugins")


@dataclass(frozen=True, slots=True)
class Info:
    topic: InfoTopic


@dataclass(frozen=True, slots=True)
class Print:
    expression: Source


ExamineFormat = Literal["f", "e", "g", "x"]


@dataclass(frozen=True, slots=True)
class Examine:
    """`count` values of the stage at `place`, of `request`'s last row or of row `row` of it."""

    count: int
    format: ExamineFormat
    place: Source
    request: str | None = None
    row: int | None = None


@dataclass(frozen=True, slots=True)
class Assert:
    condition: Source


# -- running ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Next:
    count: int = 1


@dataclass(frozen=True, slots=True)
class Into:
    """On to the next stage of the forward pass, `count` times."""

    count: int = 1


@dataclass(frozen=True, slots=True)
class Continue:
    pass


@dataclass(frozen=True, slots=True)
class Until:
    """On to the end of a step, to a stage, or until a condition holds."""

    step: int | None = None
    place: Source | None = None
    condition: Source | None = None


@dataclass(frozen=True, slots=True)
class Advance:
    """On to the next token of a request, or to its token at a position."""

    position: int | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    pass


@dataclass(frozen=True, slots=True)
class Abandon:
    pass


# -- changing -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Submit:
    prompt: str
    params: SamplingParams
    n: int = 1
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Fork:
    """A fork of `whose` (None: of what is selected). `settings` are those given by name, to change."""

    whose: Whose | None
    token: int | str | None = None
    prompt_end: str | None = None
    settings: tuple[tuple[str, float | int | bool | str], ...] = ()
    scales: tuple[Scale, ...] = ()


@dataclass(frozen=True, slots=True)
class AbortRequest:
    request: str


@dataclass(frozen=True, slots=True)
class Preempt:
    request: str


@dataclass(frozen=True, slots=True)
class Evict:
    block: int


@dataclass(frozen=True, slots=True)
class SetPolicy:
    policy: Policy


@dataclass(frozen=True, slots=True)
class Rewind:
    step: int
    exact: bool = False


# -- the past -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Goto:
    """To a step, to a bookmark, or to the `start` or `end` of the branch."""

    step: int | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class LookBranch:
    """At another branch, at the same step where it has that; None lists them."""

    branch: int | None = None


@dataclass(frozen=True, slots=True)
class ReverseStep:
    count: int = 1


@dataclass(frozen=True, slots=True)
class ReverseContinue:
    pass


@dataclass(frozen=True, slots=True)
class Last:
    expression: Source


@dataclass(frozen=True, slots=True)
class Bookmark:
    name: str | None


@dataclass(frozen=True, slots=True)
class Bookmarks:
    pass


# -- the shell ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Select:
    """Look at a request from now on, and at one of its tokens."""

    whose: Whose


@dataclass(frozen=True, slots=True)
class Help:
    about: str | None = None


@dataclass(frozen=True, slots=True)
class Quit:
    pass


Command: TypeAlias = (
    Break | Watch | Catch | Condition | Ignore | Delete | Enable | Commands | Info | Print | Examine | Assert
    | Next | Into | Continue | Until | Advance | Finish | Abandon | Submit | Fork | AbortRequest | Preempt
    | Evict | SetPolicy | Rewind | Goto | LookBranch | ReverseStep | ReverseContinue | Last | Bookmark
    | Bookmarks | Select | Help | Quit
)  # fmt: skip
