"""What a person can do anywhere in the workbench: the app's entries in the registry of actions.

Dialogs are imported when they are opened: the first paint does not wait for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.commands.bookmarks import BOOKMARKS
from workbench.commands.debugging import DEBUGGING
from workbench.commands.forks import FORKS
from workbench.commands.going_back import GOING_BACK
from workbench.commands.inside import INSIDE
from workbench.commands.program import PROGRAM
from workbench.commands.requests import REQUESTS
from workbench.commands.running import RUNNING
from workbench.commands.time import TIME
from workbench.commands.viewing import VIEWING

if TYPE_CHECKING:
    from workbench.actions import Action
    from workbench.app import WorkbenchApp

COMMANDS: tuple[Action[WorkbenchApp], ...] = (
    *RUNNING, *DEBUGGING, *INSIDE, *REQUESTS, *TIME, *GOING_BACK, *FORKS, *BOOKMARKS, *VIEWING, *PROGRAM,
)  # fmt: skip
"""In the order of the footer, of which the end goes first when there is no room."""

__all__ = ["COMMANDS"]
