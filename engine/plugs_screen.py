"""What plugins may add to the screen, panels and commands: plain data in, lines of text out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from engine.details import TokenDetails
    from engine.state import State


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the screen shows now: the bookkeeping after `step` of `branch`, and the selection.

    `state` is the screen's own: read it, never change it. `tokens` are the ids of the selected request, prompt
    first; `details` say how the token at `position` was chosen, None for one of the prompt. `token_text` makes
    a token's text harmless.
    """

    branch: int
    step: int
    state: State
    request: str | None
    position: int | None
    tokens: Sequence[int]
    details: TokenDetails | None
    token_text: Callable[[int], str]


@runtime_checkable
class Panel(Protocol):
    """A view of its own in the workbench, opened from the palette or with `panel NAME` on the command line.

    Panels run in the screen's process. When one raises, takes longer than 0.25 s or breaks its contract, it is
    not asked again, the view says why, and a session that is being recorded records it.
    """

    name: str
    title: str
    """What the tab says: one or two words."""
    question: str
    """What the panel answers, for help and palette."""

    def panel_lines(self, seen: Seen, width: int, height: int) -> Sequence[str]:
        """Called while the panel is on the screen and something has changed, at most 25 times a second.

        Returns lines of text; longer ones than `width` are wrapped, more than `height` scroll. Markup and
        control characters in them are shown, not obeyed.
        """
        ...


@runtime_checkable
class View(Protocol):
    """A view made with Textual, as the workbench's own are; a panel is easier, and enough for text.

    Views run in the screen's process. One that raises ends the screen, as one of our own would; the session
    is closed all the same.
    """

    name: str
    title: str
    question: str

    def load_view(self) -> type:
        """Called when the view is first needed. Returns a subclass of `workbench.view.View`."""
        ...


@runtime_checkable
class Command(Protocol):
    """A command on the `:` line and in the palette.

    Commands run in the screen's process. When one raises, takes longer than 2 s or breaks its contract, it is
    not asked again, the message line says why, and a session that is being recorded records it.
    """

    name: str
    """One word, in small letters, that no command has."""
    meaning: str

    def run_command(self, arguments: str, seen: Seen) -> Sequence[str]:
        """Called with the rest of the line. Returns what to show: one line, or a page of them; none is `done`."""
        ...
