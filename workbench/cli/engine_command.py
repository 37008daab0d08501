"""How an engine's process is started: what `workbench.cli.engine_process` is reached by."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from workbench.cli.folders import ROOT
from workbench.source import ENGINE_WORD


def engine_command(plugin_files: Sequence[Path] = ()) -> list[str]:
    """The command line that starts an engine process; `plugin_files` have plugins that are not installed."""
    files = [str(path.resolve()) for path in plugin_files]
    return [sys.executable, str(ROOT / "main.py"), ENGINE_WORD, *files]
