"""A stranger's plugin, built from its own folder with pip and installed where only these tests look."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

STRANGER = Path(__file__).parent / "stranger"


def install_stranger(work: Path) -> Path:
    """Install it into a new folder below `work`, without a network; that folder, for the module path."""
    source, target = work / "source", work / "site"
    shutil.copytree(STRANGER, source)
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    line = [sys.executable, "-m", "pip", "install", "--quiet", *offline, "--target", str(target), str(source)]
    subprocess.run(line, check=True, capture_output=True, timeout=120)
    return target
