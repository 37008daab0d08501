"""Inspections: rows of the model that were looked at again, asked for once and kept for all views."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeVar

import msgspec

from engine import protocol as pr

KEPT = 64
KEPT_BYTES = 1 << 28

Command = pr.Inspect | pr.LookLayers
Result = TypeVar("Result", pr.Inspection, pr.LayersSeen)


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

    @property
    def command(self) -> pr.Inspect:
        return pr.Inspect(
            request=self.request, position=self.position, rows=self.rows, layer=self.layer, head=self.head,
            grid=self.grid,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class LayerLook:
    """All stages of the input row `position` of `request`, and the logit of `token` taken apart.

    None is the token that was chosen there; without one, the likeliest.
    """

    request: str
    position: int
    token: int | None = None

    @property
    def command(self) -> pr.LookLayers:
        return pr.LookLayers(request=self.request, position=self.position, token=self.token)


class _Asks(Protocol):
    """A look: what makes two of them the same, and the command that asks for it."""

    @property
    def request(self) -> str: ...

    @property
    def command(self) -> Command: ...


AnyLook = TypeVar("AnyLook", bound=_Asks)


@dataclass(frozen=True)
class Answered(Generic[Result]):
    """`absent`: nobody asked yet. `asked`: it is on its way. `refused`: `why` says why. `here`: `result`."""

    state: Literal["absent", "asked", "refused", "here"]
    why: str = ""
    result: Result | None = None


Answer = Answered[pr.Inspection]


@dataclass
class Looks(Generic[AnyLook, Result]):
    """Answers by what was asked. `ask` sends; the app is told when an answer comes and shows it."""

    send: Callable[[Command], int]  # returns the id its reply will carry
    why_not: Callable[[], str | None]  # why the engine cannot be asked now
    _answers: OrderedDict[AnyLook, Answered[Result]] = field(default_factory=OrderedDict)
    _asked: dict[int, AnyLook] = field(default_factory=dict)

    def get(self, look: AnyLook) -> Answered[Result]:
        """What is known, without asking."""
        return self._answers.get(look, Answered("absent"))

    def ask(self, look: AnyLook) -> Answered[Result]:
        """What is known; the engine is asked when nothing is."""
        answer = self.get(look)
        if answer.state in ("asked", "here"):
            return answer
        if (why := self.why_not()) is not None:
            return Answered("refused", why)
        self._asked[self.send(look.command)] = look
        return self._keep(look, Answered("asked"))

    def answered(self, message: Result | pr.Reply) -> bool:
        """Take in an answer from the engine; whether it was one to a look.

        The request is called as on the screen: the engine behind a recording has names of its own.
        """
        look = self._asked.pop(message.id, None)
        if look is None:
            return False
        if isinstance(message, pr.Reply):
            self._keep(look, Answered("refused", message.error or "the engine gave no answer"))
        else:
            self._keep(look, Answered("here", result=msgspec.structs.replace(message, request=look.request)))
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

    def _keep(self, look: AnyLook, answer: Answered[Result]) -> Answered[Result]:
        self._answers[look] = answer
        self._answers.move_to_end(look)
        while len(self._answers) > KEPT or (len(self._answers) > 1 and self._bytes > KEPT_BYTES):
            self._answers.popitem(last=False)
        return answer

    @property
    def _bytes(self) -> int:
        """What the answers take: those of a large model are megabytes each."""
        return sum(_size(answer.result) for answer in self._answers.values() if answer.result is not None)


@dataclass
class Inspections(Looks[Look, pr.Inspection]):
    """Rows with what their heads attended to; and `layers`, rows with all their stages."""

    def __post_init__(self) -> None:
        self.layers: Looks[LayerLook, pr.LayersSeen] = Looks(
            lambda command: self.send(command), lambda: self.why_not()
        )

    def forget(self) -> None:
        super().forget()
        self.layers.forget()

    def start_anew(self) -> None:
        super().start_anew()
        self.layers.start_anew()


def _size(result: pr.Inspection | pr.LayersSeen) -> int:
    if isinstance(result, pr.LayersSeen):
        return sum(len(values.data) for values in result.values) + len(result.logits)
    return sum(map(len, (result.logits, result.row, result.focus, result.grid)))


__all__ = ["Answer", "Answered", "Inspections", "LayerLook", "Look", "Looks"]
