"""What the debugger refuses, always in one line."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class DebugError(ValueError):
    """A command or an expression that cannot be carried out: what is wrong and what to do, in one line."""


class ExpressionError(DebugError):
    """Text that is no expression, or one about things that are not there; `column` counts from 1."""

    def __init__(self, problem: str, at: int) -> None:
        super().__init__(f"column {at + 1}: {problem}")
        self.problem = problem
        self.column = at + 1

    def moved(self, by: int) -> ExpressionError:
        """The same error in a text that has `by` more characters in front."""
        return ExpressionError(self.problem, self.column - 1 + by)


class LacksError(DebugError):
    """A value that was not kept, or does not exist here; the message says what would provide it."""


def nearest(name: str, names: Iterable[str]) -> str:
    """The known names that look most like `name`, as the end of a sentence; empty when none does."""
    close = get_close_matches(name, list(names), n=3, cutoff=0.6)
    return f"; near it: {', '.join(close)}" if close else ""
