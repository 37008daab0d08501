"""What plugins may do with the KV cache of a request while it runs: drop blocks of it. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from engine.plug_guard import ContractError, PluginFailedError, call_hook
from engine.reasons import ByPolicy, DropReason, LeastAttended


@dataclass(frozen=True, slots=True)
class KVOfRequest:
    """What a request has in the KV cache after a step: `computed` positions, those from `start` on in this step.

    `kept` are the table indexes of its full blocks that were not dropped, ascending; a block holds positions
    `index * block_size` up to `(index + 1) * block_size`. `weights` are the attention that each block got so far,
    summed over rows, layers and heads, where the policy `weighs` any.
    """

    request: str
    prompt_tokens: int
    start: int
    computed: int
    block_size: int
    kept: tuple[int, ...]
    weights: Mapping[int, float]

    def end_of(self, index: int) -> int:
        """The position after the last of a block."""
        return (index + 1) * self.block_size


BY_POLICY: Final = ByPolicy()


@dataclass(frozen=True, slots=True)
class Drop:
    """The table `indexes` of blocks that a request goes on without, and why."""

    indexes: tuple[int, ...]
    reason: DropReason = BY_POLICY


@runtime_checkable
class KVPolicy(Protocol):
    """Says which blocks a request goes on without. At most one in a run; what the model says may change.

    A policy is a function of what it is given: sessions are replayed. When it raises, takes longer than 2 s or
    breaks its contract, the plugin is disabled, and nothing more is dropped.
    """

    name: str
    weighs: int | None
    """Whose attention is measured: the last so many rows of the prompt; 0 none, None every row."""

    def drop_blocks(self, kv: KVOfRequest) -> Drop | None:
        """Called after each step for every request that computed in it. Returns some of `kv.kept`, or None."""
        ...


@runtime_checkable
class KVHost(Protocol):
    """Keeps blocks that leave the cache, outside of it. At most one in a run; what the model says stays the same.

    A block is known by its `key`, the chained hash of its tokens. Where a hook raises, the block is lost: one
    that was to be read back is computed instead.
    """

    host_blocks: int
    """How many blocks are kept at most."""

    def keep_block(self, key: int, tensors: Sequence[Any]) -> None:
        """Called before a cached block is evicted, with a tensor [block_size, ...] for each that the pool holds.

        They are the pool's own: what is kept is copied. There is no deadline.
        """
        ...

    def give_block(self, key: int) -> Sequence[Any]:
        """Called before a block is read again; returns equal tensors. There is no deadline."""
        ...

    def forget_block(self, key: int) -> None:
        """Called when a block makes room for others."""
        ...


@dataclass(slots=True)
class GuardedKVPolicy:
    """A plugin's KV policy, held to its contract."""

    plugin: str
    policy: KVPolicy

    @property
    def name(self) -> str:
        return self.policy.name

    def rows_to_weigh(self, prompt_tokens: int, start: int, stop: int) -> range:
        """Which of the rows from `start` to `stop` are measured."""
        if self.policy.weighs is None:
            return range(start, stop)
        return range(max(start, prompt_tokens - self.policy.weighs), min(stop, prompt_tokens))

    def drop_blocks(self, kv: KVOfRequest) -> Drop | None:
        """What the policy says. Raises PluginFailedError."""
        return call_hook(self.plugin, "drop_blocks", lambda: _checked(self.policy.drop_blocks(kv), kv))


def _checked(drop: Drop | None, kv: KVOfRequest) -> Drop | None:
    if drop is None:
        return None
    if not isinstance(drop, Drop) or not isinstance(drop.reason, DropReason):
        raise ContractError(f"returned {type(drop).__name__}, not a Drop with a reason, or None")
    if len(set(drop.indexes)) != len(drop.indexes) or not set(drop.indexes) <= set(kv.kept):
        raise ContractError(f"returned indexes {list(drop.indexes)[:8]} that are not all, once each, in kv.kept")
    if isinstance(drop.reason, LeastAttended) and len(drop.reason.scores) != len(drop.indexes):
        raise ContractError(f"returned {len(drop.reason.scores)} scores for {len(drop.indexes)} blocks")
    return drop if drop.indexes else None


__all__ = ["Drop", "GuardedKVPolicy", "KVOfRequest", "KVPolicy", "PluginFailedError"]
