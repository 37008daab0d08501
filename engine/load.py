"""From a model folder and options to an engine that can step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from engine.capture import wanted
from engine.engine import Engine, MakeStopStrings, Sink
from engine.execution import limits_of
from engine.executor import TorchExecutor
from engine.kv.making import count_blocks, make_pool
from engine.model.config import ModelConfig, read_config
from engine.model.decoder import Decoder
from engine.model.errors import ModelError
from engine.model.invariant import invariant
from engine.model.lora.loading import load_adapters, load_merged, merged_in, with_adapters
from engine.model.weights import DTYPES, load_decoder
from engine.params import EngineOptions, OptionError
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
    count_blocks(config, options, DTYPES[dtype], plugs)  # no room is said before the weights are read
    capture = wanted(options.capture, config.layers)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    decoder = decoder_of(folder, dtype, plugs, options.adapters)
    if options.invariant:
        decoder = invariant(decoder)
    pool = make_pool(config, options, DTYPES[dtype], plugs)
    executor = TorchExecutor(decoder, pool, options.seed, capture, plugs)
    attach(plugs, executor, folder)
    sink = make_sink(executor)
    return Engine(
        executor, limits_of(config), pool.num_blocks, options, sink, stop_strings, make_timeline(), plugs
    )


def decoder_of(folder: Path, dtype: str, plugs: Plugs, adapters: Sequence[str] = ()) -> Decoder:
    """The model with its adapters, and the weights that a plugin made of it: plain ones where it fails at any."""
    loaded = load_adapters(adapters, read_config(folder))
    return with_adapters(_weights_of(folder, dtype, plugs, adapters), loaded)


def _weights_of(folder: Path, dtype: str, plugs: Plugs, adapters: Sequence[str]) -> Decoder:
    merged = merged_in(adapters)
    if plugs.transform is None or plugs.transform[0] in plugs.disabled:
        return load_merged(folder, DTYPES[dtype], merged)
    plugin, transform = plugs.transform
    if merged:
        raise OptionError(
            f"adapter {merged[0].name} is merged into the weights, and plugin {plugin} makes others of them:"
            f" leave out its ,merged and name it in requests"
        )

    def loaded() -> Decoder:
        return load_decoder(folder, DTYPES[dtype], transform.prepare_weights(folder, dtype))

    try:
        return call_hook(plugin, "prepare_weights", loaded, deadline_s=None)
    except PluginFailedError as failure:
        if isinstance(failure.__cause__, OptionError):
            raise OptionError(f"plugin {plugin}: {failure.__cause__}") from failure
        if isinstance(failure.__cause__, ModelError):
            raise failure.__cause__ from failure
        plugs.disable(failure)
        return load_decoder(folder, DTYPES[dtype])


def attach(plugs: Plugs, executor: TorchExecutor, folder: Path) -> None:
    """Give the executor, and the model's folder, to a drafter that wants it; one that fails at that is disabled.

    Raises ModelError or OptionError.
    """
    drafter = plugs.drafts
    if drafter is None or not hasattr(drafter.drafter, "attach"):
        return
    try:
        call_hook(drafter.plugin, "attach", lambda: drafter.drafter.attach(executor, folder), deadline_s=None)
    except PluginFailedError as failure:
        if isinstance(failure.__cause__, ModelError | OptionError):
            raise failure.__cause__ from failure
        plugs.disable(failure)


def dtype_name(config: ModelConfig, options: EngineOptions) -> str:
    """The compute dtype: as asked, or for `auto` what the config says."""
    return (config.dtype or "float32") if options.dtype == "auto" else options.dtype


__all__ = ["MakeSink", "dtype_name", "limits_of", "load"]
