"""Events of KV blocks and of the radix tree: who takes, shares, caches and loses which."""

from __future__ import annotations

from engine.events.base import Event
from engine.reasons import MatchEnd

BY_HAND = ""
"""Stands for a request where a person asked, and no request did."""


class Inherited(Event, frozen=True):
    """Fork `request` took shared `blocks` from the table of `source`: they hold its first `tokens` tokens."""

    request: str
    source: str
    blocks: tuple[int, ...]
    tokens: int


class PrefixMatched(Event, frozen=True):
    """`request` took `blocks` (in table order, holding `tokens` tokens) from the radix tree.

    `looked_up` is the number of tokens it looked for, `end` why the match ended where it did.
    """

    request: str
    blocks: tuple[int, ...]
    tokens: int
    looked_up: int
    end: MatchEnd


class Evicted(Event, frozen=True):
    """`blocks` left the tree from the tail of `node`, to make room for `for_request` (`""`: a person asked).

    `tokens` cached tokens were lost, last used at `last_use_step`; `hits` is how often they had been matched.
    """

    node: int
    blocks: tuple[int, ...]
    tokens: int
    hits: int
    last_use_step: int
    policy: str
    for_request: str


class Allocated(Event, frozen=True):
    """`request` owns the free `blocks` from table index `index` on."""

    request: str
    index: int
    blocks: tuple[int, ...]


class Copied(Event, frozen=True):
    """Copy on write: table index `index` of `request` moves from shared `source` to its own `block`.

    The first `tokens` slots are copied before the forward pass.
    """

    request: str
    index: int
    source: int
    block: int
    tokens: int


class Cached(Event, frozen=True):
    """Full `blocks` of `request`, from table index `index` on, entered the tree at the end of `node`.

    `created` says that `node` is new, under `parent`; `hashes` chain over all tokens from position 0.
    """

    request: str
    index: int
    blocks: tuple[int, ...]
    hashes: tuple[int, ...]
    node: int
    parent: int
    created: bool


class Split(Event, frozen=True):
    """`node` keeps its first `at` blocks; the others and its children move to the new node `child`."""

    node: int
    child: int
    at: int


class KeptPrivate(Event, frozen=True):
    """A full block did not enter the tree because `twin` already holds the same tokens there."""

    request: str
    index: int
    block: int
    hash: int
    twin: int
