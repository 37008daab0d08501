"""The pool of a run: as large as was asked for, and made by a plugin where one keeps K and V in its own way."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import torch

from engine.kv.pool import KVPool, MakePool
from engine.model.config import ModelConfig
from engine.model.errors import ModelError
from engine.params import MIB, EngineOptions, OptionError
from engine.plug_guard import ContractError, PluginFailedError, call_hook
from engine.plugs import Plugs

T = TypeVar("T")


def make_pool(config: ModelConfig, options: EngineOptions, dtype: torch.dtype, plugs: Plugs) -> KVPool:
    """The pool that `options` ask for; a plain one where the plugin that would keep K and V fails.

    Raises OptionError where there is no room for it, or for what is wrong with the plugin's options.
    """
    return _made(
        plugs, lambda make: make(config, _blocks(config, options, dtype, make), options.block_size, dtype)
    )


def count_blocks(config: ModelConfig, options: EngineOptions, dtype: torch.dtype, plugs: Plugs) -> int:
    """`--kv-blocks`, or as many as `--kv-memory` holds; OptionError when that is none or too many."""
    return _made(plugs, lambda make: _blocks(config, options, dtype, make))


def _made(plugs: Plugs, use: Callable[[MakePool], T]) -> T:
    """What `use` gets out of the run's maker of pools, or out of the plain one where that fails."""
    try:
        return use(pool_maker(plugs))
    except PluginFailedError as failure:
        if isinstance(failure.__cause__, ModelError | OptionError):
            raise failure.__cause__ from failure
        plugs.disable(failure)
        return use(KVPool)


def pool_maker(plugs: Plugs) -> MakePool:
    """Who makes the pools of a run: its plugin, held to its contract, or nobody but the engine."""
    if plugs.store is None or plugs.store[0] in plugs.disabled:
        return KVPool
    plugin, store = plugs.store

    def make(config: ModelConfig, num_blocks: int, block_size: int, dtype: torch.dtype) -> KVPool:
        def made() -> KVPool:
            name = str(dtype).removeprefix("torch.")
            return _checked(store.make_pool(config, num_blocks, block_size, name), num_blocks, block_size)

        return call_hook(plugin, "make_pool", made, deadline_s=None)

    return make


def _blocks(config: ModelConfig, options: EngineOptions, dtype: torch.dtype, make: MakePool) -> int:
    block_bytes = options.block_size * make(config, 1, options.block_size, dtype).bytes_per_token
    memory = _memory_bytes()
    if options.kv_blocks is not None:
        if options.kv_blocks * block_bytes > memory:
            raise OptionError(
                f"kv_blocks is {options.kv_blocks}: that is {options.kv_blocks * block_bytes // MIB} MiB of KV"
                f" and this machine has {memory // MIB} MiB of memory"
            )
        return options.kv_blocks
    if options.kv_memory_bytes > memory:
        asked = options.kv_memory_bytes // MIB
        raise OptionError(f"kv_memory is {asked} MiB: this machine has {memory // MIB} MiB of memory")
    blocks = options.kv_memory_bytes // block_bytes
    if blocks == 0:
        raise OptionError(
            f"kv_memory is {options.kv_memory_bytes} bytes: one block of {options.block_size} tokens"
            f" takes {block_bytes}"
        )
    return blocks


def _checked(pool: object, num_blocks: int, block_size: int) -> KVPool:
    if not isinstance(pool, KVPool):
        raise ContractError(f"returned {type(pool).__name__}, not a KVPool")
    if (pool.num_blocks, pool.block_size) != (num_blocks, block_size):
        raise ContractError(
            f"returned {pool.num_blocks} blocks of {pool.block_size} for {num_blocks} of {block_size}"
        )
    if pool.bytes_per_token < 1:
        raise ContractError("returned a pool that holds nothing")
    return pool


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
