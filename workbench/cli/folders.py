"""Where things are: the models that ship with the project, Hugging Face's cache, this user's folders."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

ROOT = Path(__file__).resolve().parent.parent.parent
BUNDLED_MODELS = ROOT / "models"
DEFAULT_MODEL = BUNDLED_MODELS / "tiny-python"


def is_bundled(folder: Path) -> bool:
    """Whether `folder` is one of the models that ship with the project."""
    return folder.resolve().parent == BUNDLED_MODELS


def hub_cache() -> Path:
    """The folder of Hugging Face's cache, by the variables that its own tools read."""
    if named := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(named).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"


def log_file() -> Path:
    """Where engines' libraries write what would disturb the screen; the folder exists."""
    folder = platformdirs.user_log_path("workbench", appauthor=False, ensure_exists=True)
    return folder / "engine.log"
