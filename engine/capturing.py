"""A forward pass of which some tensors are kept: the same pass, and the rows that choose tokens copied out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.capture import STAGES, Kind, Taken, Wanted
from engine.execution import Choice
from engine.kv.pool import KVPool
from engine.model.attention_pattern import attended
from engine.model.batch import Batch
from engine.model.decoder import Decoder


@dataclass(slots=True)
class Keeper:
    """Gathers float32 copies of rows that may choose a token: samples that share a prefill each get its row."""

    decoder: Decoder
    pool: KVPool
    batch: Batch
    choices: Sequence[Choice]
    wanted: Wanted
    taken: list[Taken] = field(default_factory=list)
    _queries: Tensor = field(default_factory=lambda: torch.empty(0))

    def at(self, layer: int, stage: str, tensor: Tensor) -> None:
        """Keep what is wanted of the stage that the pass has reached."""
        if stage == "q_rot":
            self._queries = tensor
        elif stage == "attn_out":
            self.keep_attention(layer, self._queries)
        elif stage == "resid_post":
            self.keep_residual(layer, tensor)
        elif stage == "logits":
            self.keep_logits(tensor)

    def keep_attention(self, layer: int, queries: Tensor) -> None:
        """What the heads attended to, `[heads, kv]`, worked out beside the layer's attention."""
        if layer in self.wanted.attn:
            self._keep("attn", layer, lambda index, back: self._pattern(layer, index, back, queries))

    def keep_residual(self, layer: int, residual: Tensor) -> None:
        """The residual stream after the layer, `[hidden]`."""
        if layer in self.wanted.resid:
            self._keep("resid", layer, lambda index, back: residual[self.batch.rows(index).stop - back])

    def keep_logits(self, logits: Tensor) -> None:
        """The raw logits, `[vocab]`."""
        if self.wanted.logits:
            self._keep("logits", None, lambda index, back: logits[self.batch.rows_of_logits(index).stop - back])

    def _keep(self, kind: Kind, layer: int | None, row_of: Callable[[int, int], Tensor]) -> None:
        """Keep what `row_of` a span's index and a row, counted back from its end, gives."""
        kept: dict[tuple[int, int], tuple[tuple[int, ...], bytes]] = {}
        for choice in self.choices:
            for back in _rows_kept(choice):
                at = choice.row, back
                if at not in kept:
                    row = row_of(*at).float().contiguous()
                    kept[at] = tuple(row.shape), row.numpy().tobytes()
                position = self.batch.spans[choice.row].end - back
                self.taken.append(Taken(choice.request, position, layer, STAGES[kind], *kept[at]))

    def _pattern(self, layer: int, index: int, back: int, queries: Tensor) -> Tensor:
        """What a row of a span, counted back from its end, attends to: `[heads, kv]`."""
        span, row = self.batch.spans[index], self.batch.rows(index).stop - back
        window, position = self.decoder.layers[layer].window, span.end - back
        seen = attended(queries[row : row + 1], self.pool, layer, span, window, torch.tensor([position]))
        return seen.weights[:, 0, : position + 1]


def _rows_kept(choice: Choice) -> Sequence[int]:
    """The rows of a slice that choose tokens if drafts are accepted, counted back from its end.

    Of a tree only the first: which drafts are the next rows is not known while the pass runs.
    """
    last = 1 + len(choice.draft.main if choice.draft else ())
    return (last,) if choice.draft and choice.draft.parents else range(last, 0, -1)
