"""The model behind a recording: an engine that is started only to inspect what was recorded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from engine import protocol as pr
from engine.interventions import Intervened
from engine.params import EngineOptions, SamplingParams
from sessions.header import Header
from workbench.adapters_behind import AdapterMissingError, adapters_of
from workbench.record import Record
from workbench.source import Live


class ModelMissingError(RuntimeError):
    """The model of a recording is not here, or is another one now: one line."""


def check_model(header: Header) -> Path:
    """The folder of the recorded model, its hashes compared. Raises ModelMissingError. Reads all weights."""
    folder = Path(header.model_path)
    if not folder.is_dir():
        raise ModelMissingError(f"the model of this recording was in {folder}, and that folder is not there")
    return check_folder(header, folder)


def check_folder(header: Header, folder: Path) -> Path:
    """`folder`, if it holds the recorded model. Raises ModelMissingError. Reads all weights."""
    from engine.model.errors import ModelError
    from engine.model.fingerprint import fingerprint

    try:
        found = fingerprint(folder)
    except (ModelError, OSError) as error:
        raise ModelMissingError(f"the model in {folder} cannot be read: {error}") from error
    if (found.config_sha256, found.weights_sha256) != (header.config_sha256, header.weights_sha256):
        raise ModelMissingError(f"{folder} holds another model now: its hashes are not those of the recording")
    return folder


class _Key(NamedTuple):
    """A request of a branch: another branch may have another one of the same id."""

    branch: int
    request: str


def recorded_options(header: Header) -> EngineOptions:
    """The options of a recorded run, its adapters checked by their hashes. Raises ModelMissingError."""
    try:
        adapters = adapters_of(header)
    except AdapterMissingError as error:
        raise ModelMissingError(str(error)) from None
    return msgspec.structs.replace(header.options, kv_blocks=header.num_blocks, adapters=adapters)


class ModelBehind:
    """Gives an engine the recorded tokens it is to look at, each request once."""

    def __init__(self, record: Callable[[], Record]) -> None:
        """`record` is the one on the screen."""
        self._record_now = record
        self._scratch = tempfile.TemporaryDirectory(prefix="workbench-")
        self._given: dict[_Key, tuple[str, int]] = {}  # its id in the engine, and how many tokens
        self._submitted = 0

    @property
    def _record(self) -> Record:
        return self._record_now()

    def launch(self, command: Sequence[str], folder: Path) -> Live:
        """What to start: the same model with the same options, recording into a scratch file."""
        about = self._record.about
        return Live(command, folder, Path(self._scratch.name) / "look.wbs", recorded_options(about))

    def inspect(self, command: pr.Inspect | pr.LookLayers, send: Callable[[pr.Command], int]) -> int:
        """Send an inspection of a recorded request; the id its answer will carry."""
        given = self._given.get(_Key(self._record.branch, command.request))
        if given is None or command.position >= given[1]:
            given = self._give(command.request, send)
        return send(msgspec.structs.replace(command, request=given[0]))

    def _give(self, request: str, send: Callable[[pr.Command], int]) -> tuple[str, int]:
        """Submit the recorded tokens: the engine knows them then, without taking a step."""
        tokens = tuple(self._record.token_ids(request))
        send(
            pr.Submit(
                request=pr.RequestText(prompt_ids=tokens, params=SamplingParams(adapter=self._adapter(request)))
            )
        )
        self._submitted += 1
        if (intervened := self._intervened(request)) is not None:
            self._scale(intervened, send)
        given = self._given[_Key(self._record.branch, request)] = (str(self._submitted), len(tokens))
        return given

    def _adapter(self, request: str) -> str:
        row = self._record.request(request)
        return "" if row is None else row.sampling.adapter

    def _intervened(self, request: str) -> Intervened | None:
        """The stages that were scaled for a fork."""
        row = self._record.request(request)
        return row.forked.intervened if row is not None and row.forked is not None else None

    def _scale(self, intervened: Intervened, send: Callable[[pr.Command], int]) -> None:
        """Fork what was submitted last, with the same stages scaled from the same row on."""
        parent = str(self._submitted)
        send(pr.Fork(fork=pr.ForkText(parent, intervened.start, scales=intervened.scales)))
        self._submitted += 1

    def close(self) -> None:
        self._scratch.cleanup()


__all__ = ["ModelBehind", "ModelMissingError", "check_folder", "check_model"]
