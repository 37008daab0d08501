"""A model, an engine, a recorder and text put together: everything a run needs. Imports torch."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from engine import protocol as pr
from engine.engine import Engine, Sink
from engine.executor import TorchExecutor
from engine.host import Announce, Opened
from engine.load import limits_of, load
from engine.model.decoder import Decoder
from engine.model.fingerprint import Fingerprint, fingerprint
from engine.params import EngineOptions
from engine.text import OutputText, Tokenizer
from engine.text.chat import ChatTemplate
from engine.text.convert import load_tokenizer
from engine.workload import Feeder, check_workload
from sessions.header import Header, ModelShape, PluginUsed
from sessions.reader import Session
from sessions.recorder import Recorder
from sessions.timeline import SessionTimeline
from workbench.adapters_behind import adapters_used
from workbench.cli import VERSION
from workbench.cli.errors import CommandError
from workbench.cli.plugging import plugged_in, used
from workbench.model_behind import ModelMissingError, recorded_options

TOKENIZER = "tokenizer.json"


def open_session(command: pr.Open, announce: Announce, plugin_files: Sequence[Path] = ()) -> Opened:
    """Load the model and start the recording that `command` asks for, its workload checked and queued.

    `plugin_files` have plugins that are not installed.
    Raises one of the errors of `workbench.cli.errors.is_bad_input`; there is no session file then.
    """
    folder = Path(command.model)
    announce(pr.Loading(doing="reading the tokenizer"))
    encode = Encoder(folder)
    options = command.options if command.resume is None else _recorded_options(command.resume, folder)
    plugged, plugs = plugged_in(options.plugins, plugin_files)
    recording = _Recording(command, folder, encode, used(plugged))
    announce(pr.Loading(doing="loading the weights"))
    engine = load(folder, options, recording.start, encode.stop_strings, recording.timeline, plugs)
    if command.resume is not None:
        announce(pr.Loading(doing=f"computing the KV of step {command.resume.step} again"))
        engine.rewind(command.resume.step, command.resume.branch)
    else:
        for failure in tuple(plugs.disabled.values()):
            engine.disable_plugin(failure)
    return Opened(
        engine=engine,
        encode=encode,
        encode_text=encode.text,
        feeder=Feeder(command.workload, encode),
        session=str(recording.recorder.path),
        flush=recording.recorder.flush,
        token_text=encode.tokenizer.token_text,
    )


class Encoder:
    """Turns requests into token ids with a folder's tokenizer and, where it is asked for, its chat template."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: Tokenizer = load_tokenizer(folder)
        self._folder = folder
        self._template: ChatTemplate | None = None

    def __call__(self, request: pr.RequestText) -> Sequence[int]:
        if request.messages is not None:
            return self.tokenizer.encode(self._chat(request.messages), add_special_tokens=False)
        return self.tokenizer.encode(request.prompt or "")

    def text(self, text: str) -> Sequence[int]:
        """Plain text, without the tokens that begin a prompt."""
        return self.tokenizer.encode(text, add_special_tokens=False)

    def stop_strings(self, prompt_ids: Sequence[int], stops: Sequence[str]) -> OutputText:
        """Looks for `stops` in the output that follows a prompt."""
        return OutputText(self.tokenizer, prompt_ids, stops)

    def _chat(self, messages: Sequence[dict[str, str]]) -> str:
        if self._template is None:
            self._template = ChatTemplate.from_folder(self._folder)
        return self._template.render(messages)


@dataclass(slots=True)
class _Recording:
    """Starts the session file once the model is there, and holds its recorder."""

    command: pr.Open
    folder: Path
    encode: Encoder
    plugins: tuple[PluginUsed, ...] = ()
    started: Recorder | None = None

    @property
    def recorder(self) -> Recorder:
        assert self.started is not None
        return self.started

    def timeline(self) -> SessionTimeline:
        """The session itself, which the engine goes back by."""
        return SessionTimeline(self.recorder.path, self.recorder.flush)

    def start(self, executor: TorchExecutor) -> Sink:
        """The session's recorder. The workload is checked first: what is refused leaves no file."""
        path, resume = Path(self.command.session), self.command.resume
        if resume is not None:
            self.started = Recorder.going_on(Path(resume.recording), path, force=self.command.force)
            return self.started
        limits, num_blocks = limits_of(executor.decoder.config), executor.pool.num_blocks
        check_workload(
            self.command.workload, Engine(executor, limits, num_blocks, self.command.options), self.encode
        )
        self.started = Recorder(
            path,
            _header(self.folder, self.command.options, executor, self.plugins),
            _tokenizer_json(self.folder),
            force=self.command.force,
        )
        return self.started


def _recorded_options(resume: pr.Resume, folder: Path) -> EngineOptions:
    """The options of a recording. Raises CommandError where `folder` holds another model than its own."""
    with Session.open(resume.recording) as session:
        header = session.header
    found = fingerprint(folder)
    if (found.config_sha256, found.weights_sha256) != (header.config_sha256, header.weights_sha256):
        raise CommandError(f"{folder} holds another model than {resume.recording} was made with")
    try:
        return recorded_options(header)
    except ModelMissingError as error:
        raise CommandError(str(error)) from error


def _header(
    folder: Path, options: EngineOptions, executor: TorchExecutor, plugins: tuple[PluginUsed, ...]
) -> Header:
    hashes: Fingerprint = fingerprint(folder)
    return Header(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tool_version=VERSION,
        python_version=platform.python_version(),
        torch_version=str(torch.__version__),
        transformers_version=version("transformers"),
        model_path=str(folder.resolve()),
        model_name=folder.resolve().name,
        config_sha256=hashes.config_sha256,
        weights_sha256=hashes.weights_sha256,
        tokenizer_hash=hashlib.sha256(_tokenizer_json(folder) or b"").hexdigest(),
        dtype=str(executor.decoder.dtype).removeprefix("torch."),
        device=options.device,
        options=options,
        num_blocks=executor.pool.num_blocks,
        shape=shape_of(executor.decoder, executor.pool.bytes_per_token),
        machine=this_machine(),
        eos_ids=executor.decoder.config.eos_ids,
        plugins=plugins,
        kv_policy="" if executor.plugs.kv_policy is None else executor.plugs.kv_policy.name,
        adapters=adapters_used(options.adapters),
    )


def this_machine() -> str:
    """The architecture and the processor that a run's bits depend on."""
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def kernel_of(engine: Engine) -> str:
    """The kernel of the output projection: what a session's header tells of a run's kernels."""
    assert isinstance(engine.executor, TorchExecutor)
    return engine.executor.decoder.lm_head.kernel


def shape_of(decoder: Decoder, kv_bytes_per_token: int) -> ModelShape:
    """The sizes that a session's header tells of a model."""
    config = decoder.config
    return ModelShape(
        layers=config.layers,
        heads=config.heads,
        kv_heads=config.kv_heads,
        head_dim=config.head_dim,
        vocab_size=config.vocab_size,
        max_context=config.context_tokens,
        kv_bytes_per_token=kv_bytes_per_token,
        linear_kernel=decoder.lm_head.kernel,
    )


def _tokenizer_json(folder: Path) -> bytes | None:
    path = folder / TOKENIZER
    return path.read_bytes() if path.is_file() else None
