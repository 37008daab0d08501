"""A process that answers with the state it folds from a session file: `python -m tests.fold_process`.

Each line on stdin is a path and a step; each line on stdout the digest of the state at that step.
"""

from __future__ import annotations

import sys

import xxhash

from engine import keyframe
from engine.state import State
from sessions.reader import Session


def digest(state: State) -> str:
    """A hash of everything in `state`."""
    columns = keyframe.pack(state)
    return xxhash.xxh3_128_hexdigest(b"".join(name.encode() + data for name, data in sorted(columns.items())))


def main() -> None:
    session: Session | None = None
    for line in sys.stdin:
        path, step = line.split("\t")
        if session is None or str(session.path) != path:
            session = Session.open(path)
        session.refresh()
        print(digest(session.state_at(int(step))), flush=True)


if __name__ == "__main__":
    main()
