"""History: lines that were typed before, kept between runs in the user's folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import platformdirs

KEPT = 500


class History:
    """The lines, oldest first, and where up and down stand among them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = _read(path)
        self._at = len(self._lines)
        self._typed = ""

    @classmethod
    def of_user(cls) -> History:
        return cls(platformdirs.user_state_path("workbench", appauthor=False) / "history")

    def add(self, line: str) -> None:
        """Keep a line; a folder that cannot be written to keeps it for this run only."""
        self._lines = [*(each for each in self._lines if each != line), line][-KEPT:]
        self.begin()
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text("".join(f"{each}\n" for each in self._lines), encoding="utf-8")

    def begin(self) -> None:
        """Stand after the newest line."""
        self._at, self._typed = len(self._lines), ""

    def back(self, typed: str) -> str:
        """The line before, `typed` where there is none; what was typed is the newest one."""
        if self._at == len(self._lines):
            self._typed = typed
        self._at = max(0, self._at - 1)
        return self._lines[self._at] if self._lines else typed

    def forward(self, typed: str) -> str:
        """The line after, and at the end what had been typed."""
        if self._at >= len(self._lines):
            return typed
        self._at += 1
        return self._lines[self._at] if self._at < len(self._lines) else self._typed


def _read(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.isprintable()][-KEPT:]


__all__ = ["History"]
