"""The state at any step: the nearest stored state, and the fold of the events after it."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from engine import events as ev
from engine.state import State
from sessions.errors import SessionError
from sessions.header import Header
from sessions.keyframes import MAX_EVENTS, Keyframe, nearest_keyframe, read_keyframe
from sessions.lineage import lineage_of
from sessions.records import Branch
from sessions.tables import fetch, fetch_value

SNAPSHOT_EVENTS: Final = 625
"""Whoever goes back leaves a copy of the state every so many events, to start from when going back further."""
SNAPSHOT_BLOCKS: Final = 1 << 20
"""Copies are kept of so many blocks in all, each of which takes some 50 bytes."""
MAX_SNAPSHOTS: Final = 10
READ_EVENTS: Final = 2_500
"""Reading a stored state takes about as long as folding this many events."""
COPY_EVENTS: Final = 500
"""And copying a state as long as this many."""


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
        self._snapshots: OrderedDict[Keyframe, State] = OrderedDict()
        self._most_snapshots = max(2, min(MAX_SNAPSHOTS, SNAPSHOT_BLOCKS // header.num_blocks))
        self.folded = 0
        """How many events were applied so far: what finding states has cost."""

    def state_at(self, branch: int, step: int) -> State:
        """The state at the end of `step`: after its last event, and those between it and the next step.

        It is one of `branch`, or, before that parted, of the branch it continues.
        """
        branch = lineage_of(self._connection, branch).holder(step) if branch else 0
        seq = last_seq(self._connection, branch, step)
        found = next((at for at in self._handed_out if (at.branch, at.seq) == (branch, seq)), None)
        found = found or self._fold(self._start(branch, seq), seq, leave=self._goes_back(branch, seq))
        self._handed_out = [*(at for at in self._handed_out if at is not found), found][-2:]
        return found.state

    def fresh_state_at(self, branch: int, step: int) -> State:
        """The same, as a copy that the caller may change."""
        branch = lineage_of(self._connection, branch).holder(step) if branch else 0
        seq = last_seq(self._connection, branch, step)
        return self._fold(self._stored(branch, seq), seq).state

    def _goes_back(self, branch: int, seq: int) -> bool:
        """Whether `seq` lies a little before a state that somebody looks at."""
        return any(at.branch == branch and 0 < at.seq - seq <= MAX_EVENTS for at in self._handed_out)

    def _start(self, branch: int, seq: int) -> _At:
        """Where folding up to `seq` starts: where that costs least."""
        spare = self._handed_out[0] if len(self._handed_out) == 2 else None
        near = [at for at in self._handed_out if at.branch == branch and at.seq <= seq]
        if not near:
            return self._stored(branch, seq)
        nearest = max(near, key=lambda at: at.seq - COPY_EVENTS * (at is not spare))
        stored = self._nearest(branch, seq)
        if stored.seq - (COPY_EVENTS if stored in self._snapshots else READ_EVENTS) > nearest.seq:
            return self._stored(branch, seq)
        if nearest is spare:
            self._handed_out.remove(spare)
            return spare
        return _At(nearest.state.copy(), branch, nearest.seq)

    def _nearest(self, branch: int, seq: int) -> Keyframe:
        """The snapshot or keyframe at or before `seq` to start from; seq 0 when there is none."""
        keyframe = nearest_keyframe(self._connection, branch, seq) or Keyframe(branch, 0)
        copies = [
            at for at in self._snapshots if at.branch == branch and keyframe.seq - READ_EVENTS <= at.seq <= seq
        ]
        return max(copies, key=lambda at: at.seq, default=keyframe)

    def _stored(self, branch: int, seq: int) -> _At:
        nearest = self._nearest(branch, seq)
        if nearest in self._snapshots:
            self._snapshots.move_to_end(nearest)
            return _At(self._snapshots[nearest].copy(), branch, nearest.seq)
        if nearest.seq == 0:
            return _At(self._beginning(branch), branch, 0)
        state = read_keyframe(self._connection, nearest)
        state.policy = state.policy or self._header.options.policy
        return _At(state, branch, nearest.seq)

    def _beginning(self, branch: int) -> State:
        """An empty engine, or where the branch left its parent."""
        row = find_branch(self._connection, branch)
        if row.parent is None or row.parent_step is None:
            return State.at_start(self._header.num_blocks, self._header.options)
        return self.fresh_state_at(row.parent, row.parent_step)

    def _fold(self, at: _At, seq: int, *, leave: bool = False) -> _At:
        """Apply the events of the branch after `at` up to `seq`, leaving copies on the way if so wished."""
        lines = fetch(
            self._connection,
            "SELECT seq, data FROM events WHERE seq > ? AND seq <= ? AND branch = ? ORDER BY seq",
            at.seq, seq, at.branch,
        )  # fmt: skip
        apply, number = at.state.apply, at.seq
        try:
            for count, (number, line) in enumerate(lines):
                if leave and count % SNAPSHOT_EVENTS == 0:
                    self._remember(Keyframe(at.branch, number - 1), at.state)
                apply(ev.decode(line))
        except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
            raise SessionError(f"event {number} does not fit the state before it: {error}") from error
        self.folded += len(lines)
        at.seq = seq
        return at

    def _remember(self, at: Keyframe, state: State) -> None:
        if at in self._snapshots:
            return
        self._snapshots[at] = state.copy()
        if len(self._snapshots) > self._most_snapshots:
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
