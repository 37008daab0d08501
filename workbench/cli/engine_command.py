"""How an engine's process is started: what `workbench.cli.engine_process` is reached by."""

from __future__ import annotations

import sys

from workbench.cli.folders import ROOT

COMMAND = "_engine"


def engine_command() -> list[str]:
    """The command line that starts an engine process."""
    return [sys.executable, str(ROOT / "main.py"), COMMAND]
