"""From a model folder and options to an engine that can step."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch

from engine.capture import wanted
from engine.engine import Engine, MakeStopStrings, Sink
from engine.execution import limits_of
from engine.executor import TorchExecutor
from engine.kv.pool import KVPool
from engine.model.config import ModelConfig, read_config
from engine.model.decoder import Decoder
from engine.model.errors import ModelError
from engine.model.invariant import invariant
from engine.model.weights import DTYPES, load_decoder
from engine.params import MIB, EngineOptions, OptionError
from engine.plug_guard import PluginFailedError, call_hook
from engine.plugs import Plugs, check_policies
from engine.timeline import Timeline

MakeSink = Callable[[TorchExecutor], Sink | None]  # takes the loaded model and its KV pool


MakeTimeline = Callable[[], Timeline | None]  # called once the sink is made


def no_past() -> None:
    """No timeline: the engine cannot go back."""


def unrecorded(_executor: TorchExecutor) -> None:
    """No sink: nobody records the run."""


def load(
    folder: Path,
    options: EngineOptions,
    make_sink: MakeSink = unrecorded,
    stop_strings: MakeStopStrings | None = None,
    make_timeline: MakeTimeline = no_past,
    plugs: Plugs | None = None,
) -> Engine:
    """Load `folder` and build its engine. Raises ModelError or OptionError with one clear line."""
    check_policies(options)
    plugs = plugs or Plugs()
    if options.device != "cpu":
        raise OptionError(f"device is {options.device!r}: this engine runs on cpu")
    config = read_config(folder)
    dtype = dtype_name(config, options)
    num_blocks = count_blocks(config, options)
    capture = wanted(options.capture, config.layers)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    decoder = decoder_of(folder, dtype, plugs)
    if options.invariant:
        decoder = invariant(decoder)
    pool = KVPool(config, num_blocks, options.block_size, DTYPES[dtype])
    executor = TorchExecutor(decoder, pool, options.seed, capture, plugs)
    sink = make_sink(executor)
    return Engine(executor, limits_of(config), num_blocks, options, sink, stop_strings, make_timeline(), plugs)


def decoder_of(folder: Path, dtype: str, plugs: Plugs) -> Decoder:
    """The model with the weights that a plugin made of it; plain ones where it fails at any of them."""
    if plugs.transform is None or plugs.transform[0] in plugs.disabled:
        return load_decoder(folder, DTYPES[dtype])
    plugin, transform = plugs.transform

    def loaded() -> Decoder:
        return load_decoder(folder, DTYPES[dtype], transform.prepare_weights(folder, dtype))

    try:
        return call_hook(plugin, "prepare_weights", loaded, deadline_s=None)
    except PluginFailedError as failure:
        if isinstance(failure.__cause__, ModelError | OptionError):
            raise failure.__cause__ from failure
        plugs.disable(failure)
        return load_decoder(folder, DTYPES[dtype])


def dtype_name(config: ModelConfig, options: EngineOptions) -> str:
    """The compute dtype: as asked, or for `auto` what the config says."""
    return (config.dtype or "float32") if options.dtype == "auto" else options.dtype


def count_blocks(config: ModelConfig, options: EngineOptions) -> int:
    """`--kv-blocks`, or as many blocks as `--kv-memory` holds; OptionError when that is none or too many."""
    dtype = dtype_name(config, options)
    block_bytes = options.block_size * config.kv_bytes_per_token(dtype)
    memory = _memory_bytes()
    if options.kv_blocks is None:
        if options.kv_memory_bytes > memory:
            asked = options.kv_memory_bytes // MIB
            raise OptionError(f"kv_memory is {asked} MiB: this machine has {memory // MIB} MiB of memory")
        blocks = config.kv_blocks(options.kv_memory_bytes, options.block_size, dtype)
        if blocks == 0:
            raise OptionError(
                f"kv_memory is {options.kv_memory_bytes} bytes: one block of {options.block_size} tokens"
                f" takes {block_bytes}"
            )
        return blocks
    if options.kv_blocks * block_bytes > memory:
        raise OptionError(
            f"kv_blocks is {options.kv_blocks}: that is {options.kv_blocks * block_bytes // MIB} MiB of KV"
            f" and this machine has {memory // MIB} MiB of memory"
        )
    return options.kv_blocks


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


__all__ = ["MakeSink", "count_blocks", "dtype_name", "limits_of", "load"]
