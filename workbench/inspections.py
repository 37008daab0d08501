"""Inspections: rows of the model that were looked at again, asked for once and kept for all views."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from engine import protocol as pr

KEPT = 64
KEPT_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class Look:
    """What to look at: the input row `position` of `request`, and one head large.

    `position` is a row (`Selection.row`), not a token's position.
    """

    request: str
    position: int
    layer: int = 0
    head: int = 0
    rows: int = 1
    grid: int = 12


@dataclass(frozen=True, slots=True)
class Answer:
    """`absent`: nobody asked yet. `asked`: it is on its way. `refused`: `why` says why. `here`: `result`."""

    state: Literal["absent", "asked", "refused", "here"]
    why: str = ""
    result: pr.Inspection | None = None


@dataclass
class Inspections:
    """Answers by what was asked. `ask` sends; the app is told when an answer comes and shows it."""

    send: Callable[[pr.Inspect], int]  # returns the id its reply will carry
    why_not: Callable[[], str | None]  # why the engine cannot be asked now
    _answers: OrderedDict[Look, Answer] = field(default_factory=OrderedDict)
    _asked: dict[int, Look] = field(default_factory=dict)

    def get(self, look: Look) -> Answer:
        """What is known, without asking."""
        return self._answers.get(look, Answer("absent"))

    def ask(self, look: Look) -> Answer:
        """What is known; the engine is asked when nothing is."""
        answer = self.get(look)
        if answer.state in ("asked", "here"):
            return answer
        if (why := self.why_not()) is not None:
            return Answer("refused", why)
        number = self.send(
            pr.Inspect(
                request=look.request, position=look.position, rows=look.rows, layer=look.layer, head=look.head,
                grid=look.grid,
            )
        )  # fmt: skip
        self._asked[number] = look
        return self._keep(look, Answer("asked"))

    def answered(self, message: pr.Inspection | pr.Reply) -> bool:
        """Take in an answer from the engine; whether it was one to an inspection."""
        look = self._asked.pop(message.id, None)
        if look is None:
            return False
        if isinstance(message, pr.Inspection):
            self._keep(look, Answer("here", result=message))
        else:
            self._keep(look, Answer("refused", message.error or "the engine gave no answer"))
        return True

    def forget(self) -> None:
        """The engine is gone: what it still owes will not come."""
        for look in self._asked.values():
            self._answers.pop(look, None)
        self._asked.clear()

    def start_anew(self) -> None:
        """Rows are those of another branch now: what is known of the old ones says nothing of them."""
        self._answers.clear()
        self._asked.clear()

    def _keep(self, look: Look, answer: Answer) -> Answer:
        self._answers[look] = answer
        self._answers.move_to_end(look)
        while len(self._answers) > KEPT or (len(self._answers) > 1 and self._bytes > KEPT_BYTES):
            self._answers.popitem(last=False)
        return answer

    @property
    def _bytes(self) -> int:
        """What the answers take: those of a large model are megabytes each."""
        return sum(_size(answer.result) for answer in self._answers.values() if answer.result is not None)


def _size(result: pr.Inspection) -> int:
    return sum(map(len, (result.logits, result.row, result.focus, result.grid)))


__all__ = ["Answer", "Inspections", "Look"]
