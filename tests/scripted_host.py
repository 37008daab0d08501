"""An engine process without a model: `python -m tests.scripted_host` serves a scripted engine.

A request with the prompt `noise` makes it write to stderr from below Python, as native libraries do.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from engine import protocol as pr
from engine.host import Announce, Opened, serve
from engine.workload import Feeder
from sessions.creating import copy_session
from sessions.timeline import SessionTimeline
from sessions.writer import Writer
from tests.recorded import engine_on, header, writer_on

ABOUT = header(14, block_size=4, token_budget=12, max_running=4)


def encode(request: pr.RequestText) -> list[int]:
    """One token a character; what the prompt says may make trouble."""
    text = request.prompt or "".join(message["content"] for message in request.messages or ())
    if text == "noise":
        os.write(2, b"\x1b[2Jnative noise\n" * 50)
    return [ord(character) % 50 for character in text]


def encode_text(text: str) -> list[int]:
    return [ord(character) % 50 for character in text]


def open_session(command: pr.Open, announce: Announce) -> Opened:
    if command.model == "missing":
        raise ValueError("missing: no such folder")
    announce(pr.Loading(doing="reading the script"))
    path, resume = Path(command.session), command.resume
    if resume is not None:
        copy_session(Path(resume.recording), path)
    writer = Writer(path) if resume is not None else writer_on(path, ABOUT)
    engine = engine_on(writer, ABOUT, SessionTimeline(path, writer.write))
    if resume is not None:
        engine.rewind(resume.step, resume.branch)
    return Opened(engine, encode, encode_text, Feeder(command.workload, encode), command.session, writer.write)


if __name__ == "__main__":
    sys.exit(serve(open_session, sys.stdin.buffer, sys.stdout.buffer))
