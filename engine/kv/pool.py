"""The keys and values of all requests: one tensor a layer, addressed by slot."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from engine.model.config import ModelConfig


class KVPool:
    """`num_blocks` blocks of `block_size` token slots each, for every layer.

        layers[i]   [slots, 2, kv_heads, head_dim]      slot = block * block_size + offset
                            ^ 0: key, rotated   1: value

    A layer has its own tensor (a slice of one large tensor costs a copy of it under compilation), and K and
    V of a token lie together, so that one gather reads both. The pool knows nothing of owners: block tables
    do. Slots start as zeros and keep what was written last.
    """

    def __init__(
        self, config: ModelConfig, num_blocks: int, block_size: int, dtype: torch.dtype = torch.float32
    ) -> None:
        assert num_blocks >= 1
        assert block_size >= 1
        self.config = config
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.dtype = dtype
        shape = (num_blocks * block_size, 2, config.kv_heads, config.head_dim)
        self.layers = [torch.zeros(shape, dtype=dtype) for _ in range(config.layers)]

    @property
    def num_slots(self) -> int:
        return self.num_blocks * self.block_size

    @property
    def held(self) -> Sequence[Tensor]:
        """All that the pool keeps: tensors `[slots, ...]`."""
        return self.layers

    @property
    def bytes_per_token(self) -> int:
        """Bytes of K and V that one token takes over all layers."""
        return sum(held[0].nbytes for held in self.held)

    def another(self, num_blocks: int) -> KVPool:
        """An empty pool of `num_blocks` that keeps K and V as this one does."""
        return KVPool(self.config, num_blocks, self.block_size, self.dtype)

    def write(self, layer: int, slots: Tensor, kv: Tensor) -> None:
        """Puts `kv [tokens, 2, kv_heads, head_dim]` into `slots [tokens]` of a layer."""
        self.layers[layer].index_copy_(0, slots, kv)

    def gather(self, layer: int, slots: Tensor) -> Tensor:
        """A copy of what lies in `slots [tokens]`: `[tokens, 2, kv_heads, head_dim]`."""
        return self.layers[layer].index_select(0, slots)

    def read(self, layer: int, run: slice) -> Tensor:
        """What lies in a run of slots, `[tokens, 2, kv_heads, head_dim]`; not a copy of it."""
        return self.layers[layer][run]

    def copy_block(self, source: int, target: int, tokens: int) -> None:
        """Copies the first `tokens` slots of a block to another block, in every layer (copy-on-write)."""
        assert 0 <= tokens <= self.block_size
        read, write = source * self.block_size, target * self.block_size
        for held in self.held:
            held[write : write + tokens] = held[read : read + tokens]

    def copy_slots(self, source: KVPool, read: Tensor, write: Tensor) -> None:
        """Puts what lies in slots `read [tokens]` of a pool that keeps it alike into slots `write [tokens]`."""
        for mine, other in zip(self.held, source.held, strict=True):
            mine.index_copy_(0, write, other.index_select(0, read))


MakePool = Callable[[ModelConfig, int, int, torch.dtype], KVPool]
"""Takes the config, how many blocks of how many slots, and the compute type; `KVPool` is one."""
