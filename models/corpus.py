"""The text the models are trained on: the standard library of the running Python, split by file.

Every installation carries this text, so anyone can train and measure again without fetching anything. Which
files are held out depends on their relative path only, never on the order in which a disk lists them.
"""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HELD_OUT_PERCENT", "Corpus", "Document", "load_corpus"]

HELD_OUT_PERCENT = 4

# Not ordinary source: generated tables, documentation kept as one literal, per-machine build settings, and
# installed packages. They are in neither part, so they can't flatter the held-out figure either.
SKIPPED_FOLDERS = frozenset(
    {"site-packages", "dist-packages", "__pycache__", "encodings", "pydoc_data", "encoded_modules", "data"}
)
SKIPPED_PREFIXES = ("_sysconfigdata", "config-", "bad_coding", "badsyntax")


@dataclass(frozen=True, slots=True)
class Document:
    """One source file: its path relative to the library, with forward slashes, and its text."""

    path: str
    text: str

    @property
    def held_out(self) -> bool:
        """Whether the file is kept from training; decided by its path alone."""
        digest = hashlib.sha256(self.path.encode()).digest()
        return int.from_bytes(digest[:4], "big") % 100 < HELD_OUT_PERCENT


@dataclass(frozen=True, slots=True)
class Corpus:
    """The two parts of the library. No text is in both."""

    train: tuple[Document, ...]
    held_out: tuple[Document, ...]


def load_corpus(root: Path | None = None) -> Corpus:
    """Read every ordinary source file under `root` (default: the running interpreter's library)."""
    seen: set[str] = set()
    train: list[Document] = []
    held_out: list[Document] = []
    for document in _documents(root or Path(sysconfig.get_path("stdlib"))):
        digest = hashlib.sha256(document.text.encode()).hexdigest()
        if digest not in seen:
            seen.add(digest)
            (held_out if document.held_out else train).append(document)
    return Corpus(tuple(train), tuple(held_out))


def _documents(root: Path) -> Iterator[Document]:
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if _is_ordinary(relative) and (text := _read(path)):
            yield Document(relative.as_posix(), text)


def _is_ordinary(relative: Path) -> bool:
    if SKIPPED_FOLDERS.intersection(relative.parts):
        return False
    return not any(part.startswith(SKIPPED_PREFIXES) for part in relative.parts)


def _read(path: Path) -> str | None:
    """The file's text, or None where it is not UTF-8 (the library tests other encodings on purpose)."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
