"""What is compared with what: the selected request, and one of another run or of this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from engine.details import TokenDetails
from sessions.diff_compare import first_difference, first_token_of
from sessions.diff_pairs import partner_of
from sessions.diff_result import FirstToken, PairDifference, PositionDifference
from sessions.diff_side import Side
from sessions.errors import SessionError
from sessions.reader import Session
from sessions.records import RequestRow, TokenRow
from workbench.bench import Scene

PAGE = 256

NOTHING_CHOSEN = (
    "Nothing to compare with yet. w chooses another session that should agree with this one, or another request"
    " of this session. A fork is compared with its parent by itself."
)


@dataclass(frozen=True, slots=True)
class Opposite:
    """What stands on the right: a session (None: the one on the screen), and a request in it, or its partner.

    `left` is a session that takes the place of the one on the screen: its first request is compared.
    """

    session: Session | None = None
    request: str | None = None
    left: Session | None = None

    @property
    def name(self) -> str:
        return "" if self.session is None else self.session.path.name


@dataclass(eq=False)
class Comparison:
    """Request `one` of A beside `other` of B. `found` are the positions that have been compared so far."""

    a: Side
    b: Side
    one: str
    other: str
    found: dict[int, PositionDifference] = field(default_factory=dict)
    complete: bool = False
    _rows: dict[tuple[bool, int], dict[int, TokenRow]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ids_a, self.ids_b = self.a.ids(self.one), self.b.ids(self.other)
        self.parts_at = first_difference(self.ids_a, self.ids_b)
        self.start = max(self.a.prompt_tokens(self.one), self.b.prompt_tokens(self.other))

    def __len__(self) -> int:
        return max(len(self.ids_a), len(self.ids_b))

    @property
    def same_session(self) -> bool:
        return self.a.session.path == self.b.session.path

    def take_over(self, before: Comparison) -> None:
        """Keep what was measured of the same two requests when there were fewer tokens."""
        same = (self.one, self.other, self.a.session.path, self.b.session.path, self.a.branch, self.b.branch)
        was = (before.one, before.other, before.a.session.path, before.b.session.path)
        if same == (*was, before.a.branch, before.b.branch):
            self.found.update(before.found)

    @property
    def comparable(self) -> range:
        """The positions that both chose from the same tokens before them."""
        stop = min(len(self.ids_a), len(self.ids_b))
        return range(self.start, stop if self.parts_at is None else min(stop, self.parts_at + 1))

    def find(self, wanted: str, at: int, direction: int) -> int | None:
        """The next position (1) or the one before (-1) whose token in A has `wanted` in it."""
        order = range(at + 1, len(self.ids_a)) if direction > 0 else range(at - 1, -1, -1)
        return next((index for index in order if wanted in self.a.text(self.ids_a[index])), None)

    def target(self, position: int | None) -> int | None:
        """Whose stages can be searched: the choice at `position` if both made it, else the first that differs."""
        if position is not None and position in self.comparable:
            return position
        return self.parts_at if self.parts_at in self.comparable else None

    @cached_property
    def first(self) -> FirstToken | None:
        """Where the tokens part."""
        return (
            None if self.parts_at is None else first_token_of(self.a, self.b, self.one, self.other, self.parts_at)
        )

    @property
    def pair(self) -> PairDifference:
        """What is known by now."""
        return PairDifference(self.one, self.other, self.first, [self.found[at] for at in sorted(self.found)])

    def row(self, position: int, *, left: bool) -> TokenRow | None:
        """How a token was chosen on one side; read a page at a time."""
        side, request = (self.a, self.one) if left else (self.b, self.other)
        page = position // PAGE
        if (left, page) not in self._rows:
            rows = side.session.tokens(request, side.branch, page * PAGE, (page + 1) * PAGE)
            self._rows[left, page] = {row.position: row for row in rows}
        return self._rows[left, page].get(position)

    def details(self, position: int, *, left: bool) -> TokenDetails | None:
        side, request = (self.a, self.one) if left else (self.b, self.other)
        return side.session.details(request, position, side.branch)


def compare_at(scene: Scene, opposite: Opposite | None) -> Comparison | str:
    """What the selection is to be compared with, or why there is nothing, with the key that helps."""
    if opposite is not None and opposite.left is not None and opposite.session is not None:
        return _first_of_both(Side(opposite.left), Side(opposite.session))
    request = scene.selection.request
    if request is None:
        return "No request is selected. 1 goes to the overview: choose one there, or press p to submit a prompt."
    record = scene.record
    if record.request(request) is None:
        return f"There is no request {request} in this session."
    a = Side(record.session, record.branch)
    try:
        if opposite is None or (opposite.session is None and opposite.request == request):
            return _relatives(a, request)
        if opposite.session is None:
            return Comparison(a, a, request, str(opposite.request))
        if (hidden := _hidden(record.session, opposite.session)) is not None:
            return f"The text of {hidden} was taken out, and token ids with it: w chooses something else."
        b = Side(opposite.session)
        other = opposite.request or partner_of(a, b, request)
    except SessionError as error:
        return f"{error}. w chooses something else."
    if other is None:
        return (
            f"Request {request} has no partner in {opposite.name}: none has its prompt. Select another request."
        )
    return Comparison(a, b, request, other)


def _first_of_both(a: Side, b: Side) -> Comparison | str:
    """The first request of a session beside its partner in the other one."""
    try:
        request = next(iter(a.requests())).request
        other = partner_of(a, b, request)
    except (SessionError, StopIteration) as error:
        return f"{error or 'nothing was run'}. w chooses something else."
    return Comparison(a, b, request, other) if other else "The two runs have no prompt in common."


def _hidden(a: Session, b: Session) -> str | None:
    """The session whose token ids are pseudonyms: they mean something within it only."""
    hidden = next((session.path.name for session in (a, b) if session.redacted), None)
    return None if a.path == b.path else hidden


def _relatives(a: Side, request: str) -> Comparison | str:
    """A fork beside its parent, or a parent beside its newest fork."""
    row = a.session.request(request, a.branch)
    if row.parent is not None:
        return Comparison(a, a, request, row.parent)
    forks = [other for other in a.requests() if other.parent == request]
    return Comparison(a, a, request, forks[-1].request) if forks else NOTHING_CHOSEN


def kin_of(rows: Sequence[RequestRow], request: str) -> list[RequestRow]:
    """The requests of this session that a person most likely wants beside one: forks, parent, samples first."""
    own = next((row for row in rows if row.request == request), None)
    if own is None:
        return list(rows)
    number = request.partition(".")[0]

    def near(row: RequestRow) -> tuple[bool, bool]:
        related = request in (row.parent, row.leader) or row.request in (own.parent, own.leader)
        return not related, row.request.partition(".")[0] != number

    return sorted((row for row in rows if row.request != request), key=near)


def about(row: RequestRow) -> str:
    """A request in a few words, for a list to choose from."""
    if row.parent is not None:
        return f"a fork of {row.parent} at {row.at_position}"
    return f"{row.prompt_tokens} prompt tokens"


__all__ = ["NOTHING_CHOSEN", "Comparison", "Opposite", "about", "compare_at", "kin_of"]
