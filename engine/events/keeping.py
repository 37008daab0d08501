"""Events of what is kept of the cache: attention measured, blocks that a policy dropped, blocks in host files."""

from __future__ import annotations

from engine.events.base import Event
from engine.reasons import DropReason


class Weighed(Event, frozen=True):
    """What `rows` rows of `request`, from position `start` on, attended to, for a policy that wants it.

    `weights` are sums over those rows, all layers and all heads, one for each block at table `indexes`.
    """

    request: str
    start: int
    rows: int
    indexes: tuple[int, ...]
    weights: tuple[float, ...]


class Dropped(Event, frozen=True):
    """`policy` took `blocks` (`tokens` tokens) at table `indexes` from `request`.

    Rows from `position` on do not read them: they are computed from less, and so is their KV.
    """

    request: str
    indexes: tuple[int, ...]
    blocks: tuple[int, ...]
    tokens: int
    position: int
    policy: str
    reason: DropReason


class Uncached(Event, frozen=True):
    """Held `blocks` left the tree from the tail of `node`: they follow one that `request` dropped.

    A block can only be evicted after all that follow it. No tokens are lost to who holds them.
    """

    request: str
    node: int
    blocks: tuple[int, ...]


class Offloaded(Event, frozen=True):
    """Cached `blocks`, about to be evicted, are written to host files, each under the hash of its tokens.

    Those of `forgotten` make room for them.
    """

    blocks: tuple[int, ...]
    hashes: tuple[int, ...]
    tokens: int
    forgotten: tuple[int, ...]


class Loaded(Event, frozen=True):
    """`blocks` of `request`, from table index `index` on, are read back from the host files of `hashes`."""

    request: str
    index: int
    blocks: tuple[int, ...]
    hashes: tuple[int, ...]
    tokens: int


class OffloadLost(Event, frozen=True):
    """The host file of `hash` could not be written, or not read back for `request`: its block was computed."""

    hash: int
    request: str | None
    why: str
