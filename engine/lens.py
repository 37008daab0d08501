"""Looking at one row layer by layer: its stages in numbers, what each layer would say, and who said how much."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine import protocol as pr
from engine.lens_parts import Taken, take_apart
from engine.lens_read import Read, read_out
from engine.model.decoder import Decoder
from engine.row_again import InspectionError, Prepared, RowAgain
from engine.stage_report import Passed, Source, Values
from engine.stage_source import SourceTrail, sources_of
from engine.stage_stats import stats_of, values_of

MOST_TOP = 50


@dataclass(slots=True)
class _Gathered:
    """What is kept of each stage while the pass goes on."""

    row: Taken = field(default_factory=Taken)
    passed: list[Passed] = field(default_factory=list)
    values: list[Values] = field(default_factory=list)
    sources: dict[Source, int] = field(default_factory=dict)
    source_of: list[tuple[int, ...]] = field(default_factory=list)
    logits: Tensor = field(default_factory=lambda: torch.empty(0))

    def take(self, layer: int, stage: str, tensor: Tensor, ns: int, ran: tuple[Source, ...]) -> None:
        dtype = str(tensor.dtype).removeprefix("torch.")
        self.passed.append(Passed(layer, stage, dtype, tuple(tensor.shape), ns, (stats_of(tensor),)))
        self.values.append(values_of(tensor))
        self.source_of.append(tuple(self.sources.setdefault(each, len(self.sources)) for each in ran))
        self.row.take(layer, stage, tensor[0])
        self.logits = tensor[0]


@dataclass(frozen=True, slots=True)
class LayerLooker:
    """Looks at the layers of rows of one run."""

    again: RowAgain

    def look(self, command: pr.LookLayers) -> pr.LayersSeen:
        """Compute input row `command.position` again. Raises InspectionError when there is none."""
        tokens = self.again.tokens(command.request, command.position)
        self._check(command)
        with torch.inference_mode():
            prepared = self.again.prepare(command.request, tokens, rows=1)
            gathered = self._run(prepared)
            token, follows = self._token(command, gathered.logits)
            read = read_out(self._decoder, gathered.row.residual, gathered.logits, token, command.top)
            parts = take_apart(self._decoder, gathered.row, token, prepared.span.adapter)
        return _answer(command, prepared, gathered, token, follows, read, parts)

    @property
    def _decoder(self) -> Decoder:
        return self.again.decoder

    def _check(self, command: pr.LookLayers) -> None:
        vocab = self._decoder.config.vocab_size
        if not 1 <= command.top <= min(MOST_TOP, vocab):
            raise InspectionError(f"top is {command.top}: it must be between 1 and {min(MOST_TOP, vocab)}")
        if command.token is not None and not 0 <= command.token < vocab:
            raise InspectionError(f"token is {command.token}: the vocabulary has {vocab}")

    def _token(self, command: pr.LookLayers, logits: Tensor) -> tuple[int, bool]:
        """Whose logit to take apart, and whether it is the token that follows the row."""
        tokens = self.again.log.tokens_of(command.request)
        after = tokens[command.position + 1] if command.position + 1 < len(tokens) else None
        if command.token is not None:
            return command.token, command.token == after
        return (int(logits.argmax()), False) if after is None else (after, True)

    def _run(self, prepared: Prepared) -> _Gathered:
        gathered, trail = _Gathered(), SourceTrail()
        generator = self.again.generator(prepared)
        stages = self.again.stages(prepared, generator)
        while True:
            clock = time.perf_counter_ns()
            reached = trail.watch(lambda: next(stages, None))
            ns = time.perf_counter_ns() - clock
            if reached is None:
                return gathered
            gathered.take(*reached, ns, sources_of(trail.follow(generator)))


def _answer(
    command: pr.LookLayers, prepared: Prepared, gathered: _Gathered, token: int, follows: bool, read: Read,
    parts: Sequence[Tensor],
) -> pr.LayersSeen:  # fmt: skip
    embed, attn, mlp, heads = parts
    logit = float(gathered.logits[token])
    return pr.LayersSeen(
        id=command.id, request=command.request, position=command.position, token=token, follows=follows,
        layers=heads.shape[0], n_heads=heads.shape[1], top=command.top, stages=tuple(gathered.passed),
        values=tuple(gathered.values), sources=tuple(gathered.sources), source_of=tuple(gathered.source_of),
        lens_ids=read.ids.int().numpy().tobytes(), lens_probs=_floats(read.probs),
        rank=read.rank.int().numpy().tobytes(), prob=_floats(read.prob), lens_logit=_floats(read.logit),
        kl=_floats(read.kl), resid_norm=_floats(gathered.row.norms), embed=float(embed), attn=_floats(attn),
        mlp=_floats(mlp), heads=_floats(heads), logit=logit,
        remainder=logit - float(embed + attn.sum() + mlp.sum()), logits=_floats(gathered.logits),
        reused=prepared.reused, prefilled=prepared.prefilled,
    )  # fmt: skip


def _floats(values: Tensor) -> bytes:
    return values.float().contiguous().numpy().tobytes()
