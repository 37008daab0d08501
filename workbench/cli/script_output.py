"""What a script prints: lines for people, or a JSON object a line."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from engine.debug.said import Shown, Stop, sentence
from engine.sanitise import display_text
from workbench.cli.console import print_json, say


@dataclass(frozen=True, slots=True)
class ScriptOutput:
    """Prints to stdout what commands answer, and where the run stopped."""

    json: bool

    def shown(self, command: str, answer: Shown) -> None:
        """The answer to a command."""
        if self.json:
            told = {"lines": answer.lines, "values": answer.values, "requests": answer.requests}
            print_json({"type": "answer", "command": command} | {k: v for k, v in told.items() if v})
        else:
            for line in answer.lines:
                print(display_text(line), flush=True)

    def stop(self, stop: Stop) -> None:
        """The run was halted."""
        self._told("stop", stop)

    def failed(self, stop: Stop) -> None:
        """A condition that must hold throughout did not."""
        if self.json:
            self._told("assertion", stop)
        say(sentence(stop))

    def assertion(self, command: str, message: str) -> None:
        """`assert` did not hold."""
        if self.json:
            print_json({"type": "assertion", "command": command, "sentence": message})
        say(message)

    def _told(self, kind: str, stop: Stop) -> None:
        if self.json:
            print_json({"type": kind, "sentence": sentence(stop)} | msgspec.to_builtins(stop))
        else:
            print(display_text(sentence(stop)), flush=True)
