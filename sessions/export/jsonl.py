"""Events as JSON lines: a header, then one event a line, as `docs/events.md` describes them."""

from __future__ import annotations

from typing import BinaryIO, Final

import msgspec

from sessions.export.output import Progress
from sessions.reader import Session

CHUNK_EVENTS: Final = 5_000


def write_jsonl(session: Session, stream: BinaryIO, progress: Progress) -> None:
    """Write the header and every event. Folding the events in order gives the states of the run."""
    stream.write(header_line(session))
    for start in range(0, session.last_seq, CHUNK_EVENTS):
        lines = session.event_lines(start + 1, min(start + CHUNK_EVENTS, session.last_seq))
        stream.write("".join(f"{line}\n" for line in lines).encode())
        progress(start + len(lines), session.last_seq)


def header_line(session: Session) -> bytes:
    """The first line: `{"type":"header","schema_version":...}` and everything else the header says."""
    fields = {"type": "header"} | msgspec.to_builtins(session.header)
    return msgspec.json.encode(fields) + b"\n"
