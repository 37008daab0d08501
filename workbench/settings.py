"""What a person set in the one TOML file: the theme, the glyphs, and keys of actions.

```toml
theme = "workbench-light"
glyphs = "ascii"

[keys]
step = "n"
back = ["[", ","]
```
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import platformdirs

from workbench.actions import key_name
from workbench.widgets.glyphs import GlyphChoice


class SettingsError(ValueError):
    """The settings file cannot be used: where, what is wrong, and what to do."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings; None and empty leave things as they come."""

    theme: str | None = None
    glyphs: GlyphChoice | None = None
    keys: dict[str, str | list[str]] = {}

    @property
    def keymap(self) -> dict[str, str]:
        """Textual's key map: an action's id and its keys."""
        return {action: ",".join(map(key_name, _list(keys))) for action, keys in self.keys.items()}


def settings_path() -> Path:
    """Where the file is, whether there is one or not."""
    return Path(platformdirs.user_config_dir("workbench")) / "workbench.toml"


def read_settings(path: Path, default_keys: Mapping[str, Sequence[str]], themes: Collection[str]) -> Settings:
    """The settings in `path`, those of a new user where there is no file. Raises SettingsError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    try:
        fields: Mapping[str, Any] = tomllib.loads(text)
        settings = msgspec.convert(fields, Settings)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise SettingsError(f"{path}: {error}") from error
    for action in settings.keys:
        _known(path, "action", action, default_keys)
    if settings.theme is not None:
        _known(path, "theme", settings.theme, themes)
    keys = {action: tuple(each) for action, each in default_keys.items()}
    _check_clashes(path, keys | {action: tuple(_list(each)) for action, each in settings.keys.items()})
    return settings


def _known(path: Path, kind: str, name: str, names: Collection[str]) -> None:
    if name in names:
        return
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(names))}"
    raise SettingsError(f"{path}: there is no {kind} {name!r}; {hint}")


def _check_clashes(path: Path, keys: Mapping[str, Sequence[str]]) -> None:
    """No key twice where both actions can be on the screen: in one view, or in the frame and a view."""
    for one, other in combinations(keys, 2):
        scopes = {_scope(one), _scope(other)}
        both = set(keys[one]) & set(keys[other])
        if both and (len(scopes) == 1 or "" in scopes):
            key = min(both)
            raise SettingsError(f"{path}: {key!r} is the key of both {one} and {other}: give one of them another")


def _scope(action: str) -> str:
    """The view an action belongs to, "" for the frame."""
    view, dot, _ = action.partition(".")
    return view if dot and view != "view" else ""


def _list(keys: str | list[str]) -> list[str]:
    return [keys] if isinstance(keys, str) else keys


__all__ = ["Settings", "SettingsError", "read_settings", "settings_path"]
