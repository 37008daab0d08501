"""Draft trees in a batch: branches as spans of their own, which read the slots of the drafts they hang on.

    newest ── a ── b ── c        the first branch lies in the request's own slots, in the row order of a chain
               └── d ── e        positions as b and c; they read newest and a, and write to scratch slots

A branch sees its ancestors and itself, and nobody else: that is the tree's mask, as causal spans over slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.acceptance import Checked
from engine.drafting import NO_DRAFT, Draft
from engine.execution import Choice, Job, Slice
from engine.model.span import Span


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch that is not the first of its tree, of slice `row` of a job: its drafts by index and their span."""

    row: int
    nodes: tuple[int, ...]
    tokens: tuple[int, ...]
    span: Span

    @property
    def slots(self) -> Sequence[int]:
        """Where K and V of its drafts are written."""
        return self.span.slots[self.span.start :]


class Move(NamedTuple):
    """K and V in the `scratch` slot belong into `slot`."""

    scratch: int
    slot: int


def branches_of(job: Job, block_size: int, first_scratch_slot: int) -> list[Branch]:
    """All branches but the first of every tree in `job`, tree after tree."""
    found: list[Branch] = []
    drafts = {
        choice.row: choice.draft for choice in job.choices if choice.draft is not None and choice.draft.parents
    }
    free = first_scratch_slot
    for row, draft in drafts.items():
        part = job.slices[row]
        for branch in _branches(row, part, draft, block_size, free):
            found.append(branch)
            free += len(branch.nodes)
    return found


def true_slot(part: Slice, position: int, block_size: int) -> int:
    """The slot that the block table has for a position."""
    return part.table[position // block_size] * block_size + position % block_size


def rows_of_choices(job: Job) -> dict[int, int]:
    """By slice, how many of its last rows may choose a token."""
    return {choice.row: 1 + len(choice.draft.main if choice.draft else ()) for choice in job.choices}


def logit_rows(job: Job, branches: Sequence[Branch]) -> list[list[int]]:
    """For each choice the rows of the logits of its newest token, and then of each of its drafts.

    Logits come slice after slice, and then branch after branch.
    """
    counts = rows_of_choices(job)
    before = {row: sum(count for other, count in counts.items() if other < row) for row in counts}
    after, at = [], sum(counts.values())
    for branch in branches:
        after.append(at)
        at += len(branch.nodes)
    return [_rows_of(choice, before[choice.row], branches, after) for choice in job.choices]


def _rows_of(choice: Choice, first: int, branches: Sequence[Branch], after: Sequence[int]) -> list[int]:
    draft = choice.draft or NO_DRAFT
    rows = {-1: first} | {node: first + 1 + at for at, node in enumerate(draft.main)}
    for branch, start in zip(branches, after, strict=True):
        if branch.row == choice.row:
            rows |= {node: start + at for at, node in enumerate(branch.nodes)}
    return [rows[node] for node in range(-1, len(draft))]


def moves(job: Job, branches: Sequence[Branch], checked: Mapping[str, Checked], block_size: int) -> list[Move]:
    """Which scratch slots hold K and V of accepted drafts, and where those belong."""
    found: list[Move] = []
    for branch in branches:
        part = job.slices[branch.row]
        slot_of = dict(zip(branch.nodes, branch.slots, strict=True))
        for at, node in enumerate(checked[part.work.request].path):
            if node in slot_of:
                found.append(Move(slot_of[node], true_slot(part, part.work.start + 1 + at, block_size)))
    return found


def _branches(row: int, part: Slice, draft: Draft, block_size: int, free: int) -> list[Branch]:
    slot_of = {node: true_slot(part, part.work.start + 1 + at, block_size) for at, node in enumerate(draft.main)}
    held = [true_slot(part, position, block_size) for position in range(part.work.start + 1)]
    found: list[Branch] = []
    for nodes in draft.branches()[1:]:
        path = draft.path(nodes[0])[:-1]
        own = range(free, free + len(nodes))
        free += len(nodes)
        slot_of.update(zip(nodes, own, strict=True))
        slots = (*held, *(slot_of[node] for node in path), *own)
        span = Span(
            part.work.request, len(held) + len(path), len(nodes), part.table, logit_rows=len(nodes),
            prompt_tokens=part.prompt_tokens, adapter=part.adapter, slots=slots,
        )  # fmt: skip
        found.append(Branch(row, nodes, tuple(draft.tokens[node] for node in nodes), span))
    return found
