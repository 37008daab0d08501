"""What native libraries write to stderr stays off the screen, which is drawn through the same descriptor."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.commands import ROOT

SCRIPT = """
import os, sys
from pathlib import Path
from workbench.stderr import kept_off_screen

with kept_off_screen(Path(sys.argv[1])):
    os.write(2, b"noise")
    sys.__stderr__.write("drawn ")
os.write(2, b"after")
"""


def test_the_screen_is_drawn_and_noise_goes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    terminal, stderr = pty.openpty()
    subprocess.run([sys.executable, "-c", SCRIPT, str(log)], cwd=ROOT, stderr=stderr, check=True)
    shown = os.read(terminal, 1_000)
    os.close(stderr)
    os.close(terminal)
    assert shown == b"drawn after"
    assert log.read_bytes() == b"noise"
