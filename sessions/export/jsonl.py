"""Events as JSON lines: a header, then one event a line, as `docs/events.md` describes them."""

from __future__ import annotations

from typing import BinaryIO, Final

import msgspec

from sessions.export.excerpt import Excerpt
from sessions.export.output import Progress

CHUNK_EVENTS: Final = 5_000


def write(excerpt: Excerpt, stream: BinaryIO, progress: Progress) -> None:
    """Write the header and the events. Folding all events in order gives the states of the run."""
    if excerpt.options.steps is not None or excerpt.chosen is not None:
        excerpt.leave_out("events of other steps or requests: these do not fold to a state by themselves")
    stream.write(header_line(excerpt))
    wanted = excerpt.rows_of("events", "step", "request")
    total = _count(excerpt, wanted)
    done = 0
    for (line,) in excerpt.select(f"SELECT data {wanted} ORDER BY seq"):
        stream.write(line.encode() + b"\n")
        done += 1
        if done % CHUNK_EVENTS == 0:
            progress(done, max(done, total))
    progress(done, done)


def header_line(excerpt: Excerpt) -> bytes:
    """The first line: `{"type":"header","schema_version":...}`, everything else the header says, the excerpt."""
    fields = {"type": "header"} | msgspec.to_builtins(excerpt.session.header)
    return msgspec.json.encode(fields | {"excerpt": excerpt.about}) + b"\n"


def _count(excerpt: Excerpt, wanted: str) -> int:
    return int(next(excerpt.select(f"SELECT count(*) {wanted}"))[0])
