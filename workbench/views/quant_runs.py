"""What view 8 has other processes do: measure methods, and run both models up to a token."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from sessions.quantization_kept import Study
from workbench.program import Program, ProgramError, Told

METHODS = "int8,int4,gptq,awq"
MORE_TOKENS = 24
"""How far both models go on from the token that was asked about."""


def measuring(command: Sequence[str], model: str, line: str) -> Program:
    """`compare-quant` on a model; `line` is what a person typed: methods, and options of the command.

    Raises ProgramError for a line that cannot be read."""
    try:
        methods, *more = shlex.split(line)
    except ValueError as error:
        raise ProgramError(f"{line}: {error}" if line.strip() else "name a method, such as int8") from None
    return Program([*command, "compare-quant", model, "--methods", methods, *more, "--progress", "--json"])


class Sides(NamedTuple):
    """Two recordings: the model as it is, and by a method."""

    full: Path
    quantized: Path


@dataclass
class SideBySide:
    """Runs both models on what comes before a token of the text, and on from there; what was run is kept."""

    command: Sequence[str]
    study: Study
    method: str
    position: int
    _stopped: bool = False
    _running: Program | None = field(default=None, repr=False)

    def run(self, told: Told) -> Sides | None:
        """Blocks, on a worker's thread; None when it was stopped. Raises ProgramError."""
        full, quantized = self.study.run_file(self.position), self.study.run_file(self.position, self.method)
        self._run(full, "the model as it is", (), told)
        self._run(quantized, self.method, ("--plugin", self.method), told)
        if self._stopped:
            return None
        return Sides(full, quantized)

    def stop(self) -> None:
        self._stopped = True
        if self._running is not None:
            self._running.stop()

    def _run(self, path: Path, name: str, plugin: Sequence[str], told: Told) -> None:
        """The file appears whole or not at all, and is taken where it is there already."""
        if self._stopped or path.exists():
            return
        told(f"running {name} up to token {self.position:,} …")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
            workload, made = Path(folder) / "request.jsonl", Path(folder) / path.name
            request = {"prompt_ids": self.study.text.before(self.position), "max_tokens": MORE_TOKENS}
            workload.write_bytes(msgspec.json.encode(request))
            program = self._running = Program(
                [*self.command, "record", self.study.text.model, "--workload", str(workload), "-o", str(made),
                 "--dtype", self.study.text.dtype, *plugin, "--json"]
            )  # fmt: skip
            if program.run(told) is not None:
                os.replace(made, path)


__all__ = ["METHODS", "MORE_TOKENS", "SideBySide", "Sides", "measuring"]
