"""From a command's arguments to the `Open` that an engine takes. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from engine.capture import wanted
from engine.model.checkpoint import Checkpoint, open_checkpoint
from engine.model.config import ITEM_BYTES, ModelConfig, read_config
from engine.params import EngineOptions
from engine.plugs import check_policies
from engine.protocol import Open, RequestText
from sessions.places import Place, default_path, place_for
from workbench.cli.errors import CommandError
from workbench.cli.folders import is_bundled
from workbench.cli.machine import cores, memory_bytes
from workbench.cli.model_card import missing_tokenizer
from workbench.cli.output import check_output
from workbench.cli.sizes import show_size

SMALL_MODEL_BYTES = 32 << 20


def make_order(
    folder: Path,
    options: EngineOptions,
    requests: Sequence[RequestText] = (),
    output: Path | None = None,
    *,
    force: bool = False,
    spare_cores: int = 0,
) -> tuple[Open, str | None]:
    """The order to run `requests`, and a line to tell the user about where the session goes, if any.

    What can be seen without torch is checked here: the folder's config, its weights' headers, and that
    nothing is overwritten. Raises ModelError, OptionError or CommandError.
    """
    options = settle(folder, options, spare_cores)
    place = _session_place(folder, output, force)
    order = Open(
        model=str(folder), session=str(place.path), options=options, workload=tuple(requests), force=force
    )
    _check_sendable(order)
    return order, place.warning


def settle(folder: Path, options: EngineOptions, spare_cores: int = 0) -> EngineOptions:
    """`options` with what depends on the model and the machine decided, once the model is seen to run here.

    Raises ModelError, OptionError or CommandError.
    """
    config, checkpoint = _check_model(folder)
    wanted(options.capture, config.layers)
    check_policies(options)
    options = _settled(options, checkpoint, spare_cores)
    _check_memory(config, checkpoint, options)
    return options


def _check_sendable(order: Open) -> None:
    """Raise CommandError for numbers that the engine's process could not be told."""
    try:
        msgspec.msgpack.encode(order)
    except OverflowError as error:
        raise CommandError("the workload has a number of more than 64 bits: give a smaller one") from error


def _check_model(folder: Path) -> tuple[ModelConfig, Checkpoint]:
    config, checkpoint = read_config(folder), open_checkpoint(folder)
    checkpoint.check(config)
    if (missing := missing_tokenizer(folder)) is not None:
        raise CommandError(missing)
    return config, checkpoint


def _check_memory(config: ModelConfig, checkpoint: Checkpoint, options: EngineOptions) -> None:
    """Raise CommandError when the weights alone are larger than this machine's memory."""
    dtype = (config.dtype or "float32") if options.dtype == "auto" else options.dtype
    parameters = sum(math.prod(info.shape) for info in checkpoint.tensors.values())
    need, have = parameters * ITEM_BYTES[dtype], memory_bytes()
    if need > have:
        raise CommandError(
            f"{checkpoint.folder}: its weights take {show_size(need)} in {dtype} and this machine has"
            f" {show_size(have)} of memory: use a smaller model or a smaller --dtype"
        )


def _session_place(folder: Path, output: Path | None, force: bool) -> Place:
    if output is None:
        return place_for(default_path(folder.resolve().name, datetime.now()))
    check_output(output, force)
    return place_for(output)


def _settled(options: EngineOptions, checkpoint: Checkpoint, spare_cores: int) -> EngineOptions:
    """`options` with what depends on the model and the machine decided, so that the session says it."""
    dtype = "float32" if options.dtype == "auto" and is_bundled(checkpoint.folder) else options.dtype
    threads = options.threads or _threads(checkpoint, spare_cores)
    return msgspec.structs.replace(options, dtype=dtype, threads=threads)


def _threads(checkpoint: Checkpoint, spare_cores: int) -> int:
    """A thread a core, but one for a small model: its matrices are not worth sharing out."""
    if sum(path.stat().st_size for path in checkpoint.files) < SMALL_MODEL_BYTES:
        return 1
    return max(1, cores() - spare_cores)
