"""What plugins may do with session files: write them in another format, and make them from one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, runtime_checkable

if TYPE_CHECKING:
    from engine.events import AnyEvent
    from engine.state import State

Progress = Callable[[int, int], None]


class Recording(Protocol):
    """A session as an exporter sees it: one line of history, of which steps may have been asked for."""

    @property
    def first_step(self) -> int: ...

    @property
    def last_step(self) -> int: ...

    @property
    def header(self) -> Mapping[str, Any]:
        """What the session says of its run, as in the first line of `export --to jsonl`."""
        ...

    def events(self) -> Iterator[AnyEvent]:
        """The events asked for, in order."""
        ...

    def state_at(self, step: int) -> State:
        """The bookkeeping after `step`."""
        ...


@runtime_checkable
class Exporter(Protocol):
    """A format of `export --to NAME`. The file appears whole, or not at all.

    It runs in the process of the command, without a deadline: it is interrupted as any command is. When it
    raises, nothing is written, and the command ends with exit code 2 and a line that names the plugin.
    """

    name: str
    suffix: str
    """How files of the format end, such as `.txt`."""
    meaning: str

    def write_export(self, recording: Recording, stream: BinaryIO, progress: Progress) -> None:
        """Called once: write all of it to `stream`, and tell `progress` how much of how much is done."""
        ...


@dataclass(frozen=True, slots=True)
class Imported:
    """A run that somebody else recorded: `header` has the fields of a session's header, events are in order.

    The events must be ones that an engine could have said: they are folded as they are written.
    """

    header: Mapping[str, Any]
    events: Iterable[AnyEvent]
    tokenizer_json: bytes | None = None


@runtime_checkable
class Importer(Protocol):
    """A format of `sessions import FILE --from NAME`.

    It runs in the process of the command, without a deadline. When it raises, or says what cannot be folded,
    no session is left behind, and the command ends with exit code 2 and a line that names the plugin.
    """

    name: str
    meaning: str

    def read_import(self, path: Path) -> Imported:
        """Called once with the file; its events are taken one after the other, so they may be read on the way."""
        ...
