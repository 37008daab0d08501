"""What plugins may do with the KV cache's memory: keep keys and values in another form. No torch here."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from engine.model.config import ModelConfig


@runtime_checkable
class KVStore(Protocol):
    """Keeps keys and values in another form, such as fewer bits. At most one in a run.

    What a pool gives back is what attention reads, here and wherever a row is computed again, so it must be the
    same however often it is read. When a pool cannot be made, the plugin is disabled before the first step, and
    keys and values are kept in the compute type.
    """

    def make_pool(self, config: ModelConfig, num_blocks: int, block_size: int, dtype: str) -> Any:
        """Called with one block, to see what a token takes, and then with those of the run; there is no deadline.

        Returns an `engine.kv.pool.KVPool` of `num_blocks` blocks of `block_size` token slots, whose `gather` and
        `read` give K and V in `dtype`. One that keeps more than `layers` names it in `held`, and has `another`.
        """
        ...
