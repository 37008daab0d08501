"""`doctor`: what the workbench needs of this machine, and what it found. No torch."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import msgspec

from engine.model.fingerprint import fingerprint
from sessions.places import NETWORK_TYPES, file_system, sessions_folder
from workbench.cli import VERSION
from workbench.cli.console import print_json, print_table
from workbench.cli.errors import DONE, FAILED
from workbench.cli.folders import DEFAULT_MODEL
from workbench.cli.machine import cores, memory_bytes
from workbench.cli.model_card import describe
from workbench.cli.sizes import show_size

PACKAGES = ("torch", "textual", "tokenizers", "transformers", "safetensors", "msgspec")
LEAST_MEMORY = 1 << 30
LEAST_TERMINAL = (60, 16)
OLDEST_PYTHON = (3, 11)
OLDEST_SQLITE = (3, 37)


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at: what was found, and what to do where that is not good."""

    name: str
    status: Literal["ok", "warning", "missing"]
    found: str
    advice: str = ""


def examine(json: bool) -> int:
    """Look at everything and print it; the exit code."""
    findings = [finding for look in LOOKS for finding in look()]
    if json:
        print_json(findings)
    else:
        rows = [(finding.status, finding.name, _tell(finding)) for finding in findings]
        print_table(("", "", f"workbench {VERSION}"), rows)
    return FAILED if any(finding.status == "missing" for finding in findings) else DONE


def _tell(finding: Finding) -> str:
    return f"{finding.found}: {finding.advice}" if finding.advice else finding.found


def _finding(name: str, found: str, good: bool, advice: str, *, needed: bool = False) -> Finding:
    if good:
        return Finding(name, "ok", found)
    return Finding(name, "missing" if needed else "warning", found, advice)


def look_at_python() -> Iterable[Finding]:
    good = sys.version_info >= OLDEST_PYTHON
    yield _finding("python", platform.python_version(), good, "3.11 or newer is needed", needed=True)
    good = sqlite3.sqlite_version_info >= OLDEST_SQLITE
    yield _finding("sqlite", sqlite3.sqlite_version, good, "3.37 or newer is needed", needed=True)


def look_at_packages() -> Iterable[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding(name, "missing", "not installed", "run `make setup`")


def look_at_machine() -> Iterable[Finding]:
    count = cores()
    yield _finding("cores", str(count), count > 1, "the screen and the engine share one: both will be slow")
    memory = memory_bytes()
    yield _finding("memory", show_size(memory), memory >= LEAST_MEMORY, "small: use --kv-memory 64MiB")


def look_at_terminal() -> Iterable[Finding]:
    if not sys.stdout.isatty():
        yield Finding("terminal", "ok", "standard output is no terminal")
        return
    size = shutil.get_terminal_size()
    good = size.columns >= LEAST_TERMINAL[0] and size.lines >= LEAST_TERMINAL[1]
    yield _finding("terminal", f"{size.columns}x{size.lines}", good, "make it 60x16 or larger, best 120x40")
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    yield _finding("characters", encoding, encoding == "utf8", "no Unicode: use --glyphs ascii")
    yield _colours()


def _colours() -> Finding:
    """What the environment says, as the screen will read it."""
    from rich.console import Console

    console = Console()
    found = "none (NO_COLOR)" if console.no_color else console.color_system or "none"
    good = console.no_color or found in ("truecolor", "256")
    return _finding("colours", found, good, "heatmaps need 256 colours: set TERM=xterm-256color")


def look_at_folders() -> Iterable[Finding]:
    folder = sessions_folder()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    writable = existing.is_dir() and os.access(existing, os.W_OK)
    yield _finding("sessions", str(folder), writable, "cannot be written: set XDG_STATE_HOME", needed=True)
    kind = file_system(existing)
    advice = "a network file system: sessions will be recorded to a local temporary folder"
    yield _finding("file system", kind or "unknown", kind not in NETWORK_TYPES, advice)


def look_at_model() -> Iterable[Finding]:
    folder: Path = DEFAULT_MODEL
    if not folder.is_dir():
        yield Finding("bundled model", "missing", str(folder), "not there: fetch the project again")
        return
    card = describe(folder, folder.name)
    if not card.runs:
        yield Finding("bundled model", "missing", folder.name, card.why_not or "")
        return
    yield Finding("bundled model", "ok", f"{folder.name}, weights sha256 {fingerprint(folder).weights_sha256}")


LOOKS: tuple[Callable[[], Iterable[Finding]], ...] = (
    look_at_python,
    look_at_packages,
    look_at_machine,
    look_at_terminal,
    look_at_folders,
    look_at_model,
)
