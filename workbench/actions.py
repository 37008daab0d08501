"""Action: something a person can do, said once; keys, footer, palette and help are made from it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from textual.binding import Binding
from textual.keys import KEY_NAME_REPLACEMENTS, key_to_character

Target_contra = TypeVar("Target_contra", contravariant=True)

Group = Literal["Run", "Time", "Requests", "Change", "View", "Go", "Workbench"]
GROUPS: Sequence[Group] = ("Run", "Time", "Requests", "Change", "View", "Go", "Workbench")


def _always(_target: object) -> str | None:
    return None


@dataclass(frozen=True)
class Action(Generic[Target_contra]):
    """What a key does to the app or to a view.

    `keys` are written as typed (`[`, `G`, `ctrl+p`); `brief` is the footer's word, "" leaves it out there.
    `why_not` answers, in one sentence, why it cannot be done now: the key is then greyed and says so.
    """

    id: str  # what a key map calls it; a view's ids start with the view's name and a dot
    keys: tuple[str, ...]
    title: str  # in palette and help: an imperative
    group: Group
    run: Callable[[Target_contra], Any]
    brief: str = ""
    why_not: Callable[[Target_contra], str | None] = _always
    help: str = ""


def key_name(key: str) -> str:
    """Textual's name of a key that is written as typed."""
    if len(key) != 1 or key.isalnum():
        return key
    name = unicodedata.name(key).lower().replace("-", "_").replace(" ", "_")
    return KEY_NAME_REPLACEMENTS.get(name, name)


def shown_key(name: str) -> str:
    """A key as it is typed, from Textual's name of it."""
    special = {"escape": "esc", "slash": "/"}
    return special.get(name) or _typed(name)


def _typed(name: str) -> str:
    character = key_to_character(name)
    return character if character and character.isprintable() else name


def bindings(actions: Sequence[Action[Any]]) -> list[Binding]:
    """The key bindings of `actions`; each runs `action_act(id)` of the widget that has them."""
    return [
        Binding(
            ",".join(map(key_name, action.keys)), f"act('{action.id}')", action.title, show=False, id=action.id
        )
        for action in actions
        if action.keys
    ]


__all__ = ["GROUPS", "Action", "Group", "bindings", "key_name", "shown_key"]
