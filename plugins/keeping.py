"""What to keep of the cache: attention sinks with a window, heavy hitters, and the compressed prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from engine.reasons import LeastAttended, OutsideWindow
from plugins.contract import Drop, KVOfRequest

Tokens = Annotated[int, msgspec.Meta(ge=0, le=1 << 30)]


class SinksOptions(msgspec.Struct, frozen=True):
    window: Annotated[int, msgspec.Meta(ge=1, le=1 << 30, description="Latest positions that stay.")] = 1024
    sinks: Annotated[int, msgspec.Meta(ge=0, le=1 << 30, description="First positions that stay.")] = 4


class Sinks:
    """Attention sinks and a sliding window (Xiao et al., 2023, StreamingLLM), in whole blocks.

    The next row reads itself and the `window - 1` positions before it, as sliding windows count.
    """

    name = "sinks"
    weighs = 0

    def __init__(self, options: SinksOptions) -> None:
        self.options = options

    def drop_blocks(self, kv: KVOfRequest) -> Drop | None:
        first = kv.computed + 1 - self.options.window
        out = tuple(i for i in kv.kept if i * kv.block_size >= self.options.sinks and kv.end_of(i) <= first)
        return Drop(out, OutsideWindow(self.options.sinks, self.options.window)) if out else None


class H2OOptions(msgspec.Struct, frozen=True):
    heavy: Annotated[int, msgspec.Meta(ge=0, le=1 << 30, description="Tokens that stay for their attention.")] = (
        512
    )
    recent: Annotated[int, msgspec.Meta(ge=1, le=1 << 30, description="Latest positions that stay.")] = 512


class H2O:
    """Heavy hitters and a recent window (Zhang et al., 2023, H2O): one set for all layers and heads, in blocks.

    A block's score is the attention that rows gave its tokens since it was computed.
    """

    name = "h2o"
    weighs = None

    def __init__(self, options: H2OOptions) -> None:
        self.options = options

    def drop_blocks(self, kv: KVOfRequest) -> Drop | None:
        first = kv.computed + 1 - self.options.recent
        old = [index for index in kv.kept if kv.end_of(index) <= first]
        return _all_but_heaviest(old, kv.weights, self.options.heavy, kv.block_size)


class SnapKVOptions(msgspec.Struct, frozen=True):
    keep: Annotated[
        int, msgspec.Meta(ge=0, le=1 << 30, description="Prompt tokens that stay for their attention.")
    ] = 512
    observe: Annotated[
        int, msgspec.Meta(ge=1, le=4096, description="Last prompt tokens: they ask, and stay.")
    ] = 32
    kernel: Annotated[
        int,
        msgspec.Meta(
            ge=1, le=1023, description="Neighbouring blocks, an odd number, that share the highest score."
        ),
    ] = 1

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel is {self.kernel}: give an odd number, a block and as many on each side")


class SnapKV:
    """The prompt, compressed once it is computed (Li et al., 2024, SnapKV): one set for all layers and heads.

    What its last rows attend to stays. A block pools its tokens; `kernel` blocks around it are pooled as well.
    """

    name = "snapkv"

    def __init__(self, options: SnapKVOptions) -> None:
        self.options = options
        self.weighs = options.observe

    def drop_blocks(self, kv: KVOfRequest) -> Drop | None:
        if not kv.start < kv.prompt_tokens <= kv.computed:
            return None
        before = [index for index in kv.kept if kv.end_of(index) <= kv.prompt_tokens - self.options.observe]
        return _all_but_heaviest(before, self._pooled(before, kv.weights), self.options.keep, kv.block_size)

    def _pooled(self, indexes: Sequence[int], weights: Mapping[int, float]) -> dict[int, float]:
        reach, found = self.options.kernel // 2, {index: weights.get(index, 0.0) for index in indexes}
        return {
            index: max(found.get(near, 0.0) for near in range(index - reach, index + reach + 1))
            for index in indexes
        }


def _all_but_heaviest(
    indexes: Sequence[int], weights: Mapping[int, float], tokens: int, block_size: int
) -> Drop | None:
    """Drop `indexes` but the heaviest that hold `tokens` tokens; of equals the later stays."""
    order = sorted(indexes, key=lambda index: (weights.get(index, 0.0), index))
    stay = -(-tokens // block_size)
    out = sorted(order[: max(0, len(order) - stay)])
    if not out:
        return None
    kept = order[len(out) :]
    least = weights.get(kept[0], 0.0) if kept else None
    return Drop(tuple(out), LeastAttended(tuple(weights.get(i, 0.0) for i in out), least, tokens))


class KeepingPlugin:
    """One policy, as a plugin."""

    version = "1"

    def __init__(self, policy: type, options: type[msgspec.Struct], description: str) -> None:
        self._policy = policy
        self.name: str = policy.__dict__["name"]
        self.options = options
        self.description = description

    def provide(self, options: msgspec.Struct) -> Sequence[object]:
        return (self._policy(options),)


sinks = KeepingPlugin(Sinks, SinksOptions, "Keeps the first tokens and a sliding window; output may change.")
h2o = KeepingPlugin(H2O, H2OOptions, "Keeps the most attended tokens and recent ones; output may change.")
snapkv = KeepingPlugin(SnapKV, SnapKVOptions, "Keeps what the prompt's end attends to; output may change.")
