"""What may be asked of an export besides its format, and which part of a session that names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Final, NamedTuple

from sessions.errors import SessionError

_STEPS: Final = re.compile(r"(\d{1,15})?:(\d{1,15})?|(\d{1,15})", re.ASCII)
_LAYERS: Final = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?", re.ASCII)
_MOST_NAMED: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """As a user gives them; None is not given. Which of them a format takes is in its `Format`."""

    branch: int | None = None
    steps: str | None = None
    requests: str | None = None
    layers: str | None = None
    stages: str | None = None
    step: int | None = None
    max_mb: float | None = None
    size: str | None = None
    views: str | None = None
    fps: float | None = None
    redact: bool = False

    @property
    def given(self) -> tuple[str, ...]:
        """The names of the options that were given."""
        return tuple(
            field.name for field in fields(self) if getattr(self, field.name) not in (None, False)
        )  # fmt: skip


class StepRange(NamedTuple):
    """Steps `first` to `last`, both included. `open_end`: and what was said after the last one."""

    first: int
    last: int
    open_end: bool


def parse_branch(branch: int | None, known: Sequence[int]) -> int:
    """The branch, the latest one if None. Raises SessionError where there is no such branch."""
    if branch is not None and branch not in known:
        raise SessionError(f"--branch is {branch}: the session has {_branches(known)}")
    return max(known, default=0) if branch is None else branch


def parse_steps(text: str | None, last_step: int) -> StepRange:
    """`3:9`, `3:`, `:9`, `9`. Raises SessionError for what is no range, or not in the session."""
    if text is None:
        return StepRange(1, last_step, open_end=True)
    match = _STEPS.fullmatch(text.strip())
    if match is None:
        raise SessionError(f"--steps is {text!r}: write a range such as 10:20, 10: or :20, both ends included")
    first, last = int(match[1] or match[3] or 1), int(match[2] or match[3] or last_step)
    if first > last and match[2]:
        raise SessionError(f"--steps is {text!r}: the range ends before it begins")
    if not 1 <= first <= last_step or last > last_step:
        raise SessionError(f"--steps is {text!r}: the session has {_steps(last_step)}")
    return StepRange(first, last, open_end=False)


def parse_step(step: int, last_step: int) -> int:
    """A single step. Raises SessionError when it is not in the session."""
    if not 0 <= step <= last_step:
        raise SessionError(f"--step is {step}: the session has {_steps(last_step)}, and 0 is before the first")
    return step


def parse_requests(text: str | None, known: Sequence[str]) -> tuple[str, ...] | None:
    """`1,2.0` in the session's order; `2` stands for all samples of prompt 2. None: all. Raises SessionError."""
    if text is None:
        return None
    found: set[str] = set()
    for name in (part.strip() for part in text.split(",")):
        meant = [each for each in known if each == name or each.partition(".")[0] == name]
        if not meant:
            raise SessionError(f"--requests names {name!r}: {_known(known)}")
        found.update(meant)
    return tuple(each for each in known if each in found)


def parse_layers(text: str | None, layers: int) -> frozenset[int] | None:
    """`0-3,5`. None: all. Raises SessionError for layers that the model does not have."""
    if text is None:
        return None
    found: set[int] = set()
    for part in text.split(","):
        match = _LAYERS.fullmatch(part.strip())
        if match is None:
            raise SessionError(f"--layers is {text!r}: name layers as in 0-3 or 5,7")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last >= layers:
            raise SessionError(f"--layers is {text!r}: the model has layers 0 to {layers - 1}")
        found.update(range(first, last + 1))
    return frozenset(found)


def parse_names(option: str, text: str, allowed: Collection[str]) -> tuple[str, ...]:
    """Names separated by commas, in the order given. Raises SessionError for one that is not allowed."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in allowed:
            raise SessionError(f"--{option} names {name!r}: there is {_listed(allowed)}")
    return names


def _steps(last_step: int) -> str:
    return f"steps 1 to {last_step}" if last_step else "no step that ended"


def _branches(known: Sequence[int]) -> str:
    return f"branches {', '.join(map(str, known))}" if len(known) > 1 else "branch 0 only"


def _known(known: Sequence[str]) -> str:
    return f"the session has {_listed(known)}" if known else "the session has no requests"


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _MOST_NAMED} more" if len(every) > _MOST_NAMED else ""
    return ", ".join(every[:_MOST_NAMED]) + more
