"""Model folders on this machine, and which one a name stands for. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from workbench.cli.errors import CommandError
from workbench.cli.folders import BUNDLED_MODELS, hub_cache

Source = Literal["bundled", "folder", "cache"]

DEPTH = 2  # folders below the one that is searched
MOST_FOLDERS = 2000  # looked into below one path, so that a home directory does not take minutes


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A folder with a config.json; `name` is what commands take for it."""

    name: str
    folder: Path
    source: Source


def find_models(paths: Sequence[Path] = ()) -> list[FoundModel]:
    """Models that ship with the project, those below `paths` (or here), and those in the cache; each once."""
    for path in paths:
        if not path.is_dir():
            raise CommandError(f"{path}: no such folder: give folders to search for models")
    found = [*bundled_models(), *_local_models(paths or [Path()]), *cached_models()]
    return list({model.folder.resolve(): model for model in reversed(found)}.values())[::-1]


def bundled_models() -> Iterator[FoundModel]:
    for folder in _model_folders(BUNDLED_MODELS, depth=1):
        yield FoundModel(folder.name, folder, "bundled")


def cached_models() -> Iterator[FoundModel]:
    """Snapshots in Hugging Face's cache under the name of their repository.

    The layout is `models--ORG--NAME/snapshots/REVISION/`, with the revision of a branch in `refs/`.
    """
    for repository in sorted(hub_cache().glob("models--*--*")):
        if (folder := _snapshot(repository)) is not None:
            yield FoundModel(repository.name.removeprefix("models--").replace("--", "/", 1), folder, "cache")


def resolve_model(name: str) -> Path:
    """The folder that `name` means: a path, a bundled model, or a repository in the cache."""
    if not name:
        raise CommandError("the model's name is empty: give a folder, or a name that `models ls` lists")
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    known = {model.name: model.folder for model in (*cached_models(), *bundled_models())}
    if name in known:
        return known[name]
    if path.exists():
        raise CommandError(f"{name}: is a file: a model is a folder with config.json and safetensors weights")
    raise CommandError(f"{name}: {_missing(name, known)}")


def _missing(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, known, n=1)
    if close:
        return f"no such folder or model: did you mean {close[0]}?"
    return "no such folder or model: `workbench models ls` lists those on this machine"


def _snapshot(repository: Path) -> Path | None:
    """The newest main revision of a repository in the cache, else any that is complete enough to look at."""
    main = repository / "refs" / "main"
    revisions = [main.read_text().strip()] if main.is_file() else []
    revisions += sorted(folder.name for folder in repository.glob("snapshots/*"))
    for revision in revisions:
        folder = repository / "snapshots" / revision
        if (folder / "config.json").is_file():
            return folder
    return None


def _local_models(paths: Iterable[Path]) -> Iterator[FoundModel]:
    for path in paths:
        for folder in _model_folders(path, DEPTH):
            yield FoundModel(str(folder), folder, "folder")


def _model_folders(path: Path, depth: int) -> Iterator[Path]:
    """Folders with a config.json at most `depth` below `path`, hidden ones left out; breadth first."""
    level, looked = [path], 0
    for remaining in range(depth, -1, -1):
        below: list[Path] = []
        for folder in level:
            looked += 1
            if (folder / "config.json").is_file():
                yield folder
            elif remaining and looked < MOST_FOLDERS:
                below += _subfolders(folder)
        level = below


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name[0] not in "._" and entry.is_dir()]
    except OSError:  # a folder that may not be read has no models for this user
        return []
    return [folder / name for name in sorted(names)]
