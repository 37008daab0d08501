"""The engine's own process: frames on what were stdin and stdout, everything else to stderr."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from engine import protocol as pr
from engine.host import Announce, Opened, serve
from workbench.cli.errors import CommandError, is_bad_input, one_line
from workbench.cli.torch_threads import wait_passively


def serve_engine(plugin_files: Sequence[Path] = ()) -> int:
    """Serve one client until it closes the channel; the exit code. `plugin_files` may be asked for by name.

    Signals that a terminal sends to everything in it are left to the client: when it goes, so does the
    channel, and the engine finishes its step and closes the session.
    """
    for unwanted in (signal.SIGINT, signal.SIGHUP):
        signal.signal(unwanted, signal.SIG_IGN)
    commands, answers = _take_channel()
    return serve(partial(_open_session, plugin_files), commands, answers)


def _take_channel() -> tuple[BinaryIO, BinaryIO]:
    """stdin and stdout as the channel; file descriptors 0 and 1 then lead to nothing and to stderr.

    Libraries print, at times from C: what they say must not get between the frames.
    """
    commands, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return commands, answers


def _open_session(plugin_files: Sequence[Path], command: pr.Open, announce: Announce) -> Opened:
    announce(pr.Loading(doing="loading torch"))
    wait_passively()
    from workbench.cli.assemble import open_session

    try:
        return open_session(command, announce, plugin_files)
    except Exception as error:
        if not is_bad_input(error):
            raise
        raise CommandError(one_line(error)) from error
