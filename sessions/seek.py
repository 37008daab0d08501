"""The state at any step: the nearest stored state, and the fold of the events after it."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from engine import events as ev
from engine import keyframe
from engine.state import State
from sessions.errors import SessionError
from sessions.header import Header
from sessions.keyframes import Keyframe, nearest_keyframe, read_keyframe
from sessions.lineage import lineage_of
from sessions.records import Branch
from sessions.tables import fetch, fetch_value

SNAPSHOT_EVENTS: Final = 1_250
"""A longer fold leaves packed states this many events apart, so that stepping back is quick."""
MAX_SNAPSHOTS: Final = 16
UNPACK_EVENTS: Final = 1_000
"""Unpacking a stored state takes about as long as folding this many events."""


@dataclass(slots=True)
class _At:
    """A state and where it stands: after event `seq` of `branch`."""

    state: State
    branch: int
    seq: int


class Seeker:
    """Finds states. The two latest answers stay as they are; the one before them may be folded on."""

    def __init__(self, connection: sqlite3.Connection, header: Header) -> None:
        self._connection = connection
        self._header = header
        self._handed_out: list[_At] = []  # at most two, the latest last
        self._snapshots: OrderedDict[Keyframe, keyframe.Columns] = OrderedDict()

    def state_at(self, branch: int, step: int) -> State:
        """The state at the end of `step`: after its last event, and those between it and the next step.

        It is one of `branch`, or, before that parted, of the branch it continues.
        """
        branch = lineage_of(self._connection, branch).holder(step) if branch else 0
        seq = last_seq(self._connection, branch, step)
        found = next((at for at in self._handed_out if (at.branch, at.seq) == (branch, seq)), None)
        found = found or self._fold(self._start(branch, seq), seq)
        self._handed_out = [*(at for at in self._handed_out if at is not found), found][-2:]
        return found.state

    def fresh_state_at(self, branch: int, step: int) -> State:
        """The same, as a copy that the caller may change."""
        branch = lineage_of(self._connection, branch).holder(step) if branch else 0
        seq = last_seq(self._connection, branch, step)
        return self._fold(self._stored(branch, seq), seq).state

    def _start(self, branch: int, seq: int) -> _At:
        """Where folding up to `seq` starts: the spare state unless something stored is much nearer."""
        spare = self._handed_out[0] if len(self._handed_out) == 2 else None
        if (
            spare
            and spare.branch == branch
            and self._nearest(branch, seq).seq - UNPACK_EVENTS <= spare.seq <= seq
        ):
            del self._handed_out[0]
            return spare
        return self._stored(branch, seq)

    def _nearest(self, branch: int, seq: int) -> Keyframe:
        """The latest snapshot or keyframe at or before `seq`; seq 0 when there is none."""
        stored = [at for at in self._snapshots if at.branch == branch and at.seq <= seq]
        stored.append(nearest_keyframe(self._connection, branch, seq) or Keyframe(branch, 0))
        return max(stored, key=lambda at: at.seq)

    def _stored(self, branch: int, seq: int) -> _At:
        nearest = self._nearest(branch, seq)
        if nearest.seq == 0:
            return _At(self._beginning(branch), branch, 0)
        if nearest in self._snapshots:
            self._snapshots.move_to_end(nearest)
            return _At(keyframe.unpack(self._snapshots[nearest]), branch, nearest.seq)
        return _At(read_keyframe(self._connection, nearest), branch, nearest.seq)

    def _beginning(self, branch: int) -> State:
        """An empty engine, or where the branch left its parent."""
        row = find_branch(self._connection, branch)
        if row.parent is None or row.parent_step is None:
            return State.at_start(self._header.num_blocks, self._header.options)
        return self.fresh_state_at(row.parent, row.parent_step)

    def _fold(self, at: _At, seq: int) -> _At:
        """Apply the events of the branch after `at` up to `seq`."""
        lines = fetch(
            self._connection,
            "SELECT seq, data FROM events WHERE seq > ? AND seq <= ? AND branch = ? ORDER BY seq",
            at.seq, seq, at.branch,
        )  # fmt: skip
        try:
            for count, (number, line) in enumerate(lines, 1):
                at.state.apply(ev.decode(line))
                if count % SNAPSHOT_EVENTS == 0:
                    self._remember(Keyframe(at.branch, number), at.state)
        except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
            raise SessionError(f"event {number} does not fit the state before it: {error}") from error
        at.seq = seq
        return at

    def _remember(self, at: Keyframe, state: State) -> None:
        self._snapshots[at] = keyframe.pack(state)
        if len(self._snapshots) > MAX_SNAPSHOTS:
            self._snapshots.popitem(last=False)


def last_seq(connection: sqlite3.Connection, branch: int, step: int) -> int:
    """The number of the last event of `branch` that carries `step` or an earlier one; 0 if there is none."""
    first_seq = _first_seq(connection, branch)
    if step < (find_branch(connection, branch).parent_step or 0):
        return max(0, first_seq - 1)  # what was said before a branch's first step carries one that has no row
    next_seq = fetch_value(
        connection,
        "SELECT first_seq FROM steps WHERE branch = ? AND step > ? ORDER BY step LIMIT 1",
        branch, step,
    )  # fmt: skip
    if next_seq is not None:
        return int(next_seq) - 1
    ended = fetch_value(
        connection, "SELECT last_seq FROM steps WHERE branch = ? ORDER BY step DESC LIMIT 1", branch
    )
    found = fetch_value(
        connection,
        "SELECT max(seq) FROM events WHERE seq >= ? AND branch = ? AND step <= ?",
        ended or first_seq, branch, step,
    )  # fmt: skip
    return int(found or 0)


def _first_seq(connection: sqlite3.Connection, branch: int) -> int:
    """The number of the event that opened a branch, of which there is a keyframe; 0 for the first branch."""
    if branch == 0:
        return 0
    return int(fetch_value(connection, "SELECT min(seq) FROM keyframes WHERE branch = ?", branch) or 0)


def find_branch(connection: sqlite3.Connection, branch: int) -> Branch:
    """The row of `branch`. Raises SessionError where there is none."""
    rows = fetch(connection, "SELECT * FROM branches WHERE branch = ?", branch)
    if not rows:
        raise SessionError(f"there is no branch {branch}")
    return Branch(*rows[0])
