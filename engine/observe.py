"""A forward pass with probes, attention patterns and interventions: the same pass, watched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.kv.pool import KVPool
from engine.model.attention_pattern import attended
from engine.model.batch import Batch
from engine.model.decoder import Decoder
from engine.model.stage_names import ATTENTION_STAGES, LAST_STAGES
from engine.probes import Intervention, Observation, Pattern, PatternProbe, Probe, check


@torch.inference_mode()
def observe(
    decoder: Decoder,
    batch: Batch,
    pool: KVPool,
    probes: Sequence[Probe] = (),
    patterns: Sequence[PatternProbe] = (),
    interventions: Sequence[Intervention] = (),
) -> Observation:
    """Runs `batch` and returns what the probes saw; they see what interventions left.

    Raises `ProbeError` before anything runs when one of them names a place that is not there.
    """
    check((*probes, *patterns, *interventions), decoder.config, batch)
    watch = _Watch(decoder, batch, pool, probes, patterns, interventions)
    explicit = frozenset(item.layer for item in interventions if item.stage in ATTENTION_STAGES)
    stages = decoder.stages(batch, pool, explicit)
    replacement: Tensor | None = None
    try:
        while True:
            replacement = watch.at(*stages.send(replacement))
    except StopIteration as finished:
        return Observation(finished.value, watch.captured, watch.found, explicit)


@dataclass(slots=True)
class _Watch:
    """The state of one observed pass."""

    decoder: Decoder
    batch: Batch
    pool: KVPool
    probes: Sequence[Probe]
    patterns: Sequence[PatternProbe]
    interventions: Sequence[Intervention]
    captured: dict[Probe, Tensor] = field(default_factory=dict)
    found: dict[PatternProbe, Pattern] = field(default_factory=dict)
    _queries: Tensor = field(default_factory=lambda: torch.empty(0))
    _seen: Counter[tuple[int, str]] = field(default_factory=Counter)

    def at(self, layer: int, stage: str, tensor: Tensor) -> Tensor | None:
        """What to send back for this stage."""
        if stage in ATTENTION_STAGES:
            index = self._seen[layer, stage]
            self._seen[layer, stage] += 1
            return self._changed_attention(layer, stage, tensor, self.batch.spans[index].request)
        changed = self._changed(layer, stage, tensor)
        value = tensor if changed is None else changed
        self.captured |= {
            probe: value[self._rows(stage, probe.request)].clone()
            for probe in self.probes
            if (probe.layer, probe.stage) == (layer, stage)
        }
        if stage == "q_rot":
            self._queries = value
        if stage == "attn_out":
            self.found |= {probe: self._pattern(probe, value) for probe in self.patterns if probe.layer == layer}
        return changed

    def _changed(self, layer: int, stage: str, tensor: Tensor) -> Tensor | None:
        changed: Tensor | None = None
        for item in self.interventions:
            if (item.layer, item.stage) == (layer, stage):
                changed = tensor.clone() if changed is None else changed
                rows = self._rows(stage, item.request)
                changed[rows] = item.change(changed[rows])
        return changed

    def _changed_attention(self, layer: int, stage: str, tensor: Tensor, request: str) -> Tensor:
        for item in self.interventions:
            if (item.layer, item.stage) == (layer, stage) and item.request in (None, request):
                tensor = item.change(tensor.clone())
        return tensor

    def _rows(self, stage: str, request: str | None) -> slice:
        if request is None:
            return slice(None)
        index = self.batch.index_of(request)
        return self.batch.rows_of_logits(index) if stage in LAST_STAGES else self.batch.rows(index)

    def _pattern(self, probe: PatternProbe, attn_out: Tensor) -> Pattern:
        index = self.batch.index_of(probe.request)
        span, first = self.batch.spans[index], self.batch.first_rows[index]
        rows = torch.tensor(range(span.tokens) if probe.rows is None else probe.rows)
        window = self.decoder.layers[probe.layer].window
        found = attended(
            self._queries[first + rows], self.pool, probe.layer, span, window, span.start + rows, probe.heads
        )
        heads = slice(None) if probe.heads is None else list(probe.heads)
        return Pattern(found.scores, found.weights, found.off(attn_out[first + rows][:, heads]))
