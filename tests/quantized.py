"""Quantized decoders of the bundled model, and how well they predict text that no training saw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from engine.kv.pool import KVPool
from engine.model.batch import Batch, Span
from engine.model.decoder import Decoder, run
from engine.model.weights import load_decoder
from engine.text.tokenizer import Tokenizer
from models.corpus import load_corpus
from plugins.quantization.methods import parse_method
from tests.bundled import FOLDER

LENGTH = 384


@cache
def quantized(spec: str, dtype: torch.dtype = torch.float32) -> Decoder:
    """The bundled model by a method such as `int4=group:32`; the empty one leaves it as it is."""
    if not spec:
        return load_decoder(FOLDER, dtype)
    method, options = parse_method(spec)
    return load_decoder(FOLDER, dtype, method.prepare(FOLDER, dtype, options))


@cache
def held_out(sequences: int = 12) -> tuple[tuple[int, ...], ...]:
    """Pieces of the held-out files, each after an end-of-text token."""
    text = "".join(document.text for document in load_corpus().held_out[:12])
    ids = Tokenizer.from_folder(FOLDER).encode(text)
    starts = range(0, len(ids) - LENGTH, LENGTH)[:sequences]
    return tuple((0, *ids[start : start + LENGTH - 1]) for start in starts)


@torch.inference_mode()
def logits(decoder: Decoder, sequences: Sequence[Sequence[int]], adapter: str = "") -> Tensor:
    """Of every token, all run with `adapter`: `[sequences, tokens, vocab]`."""
    size = len(sequences[0])
    spans = [Span(str(i), 0, size, [i], size, adapter=adapter) for i in range(len(sequences))]
    batch = Batch.build(spans, [token for ids in sequences for token in ids], size)
    pool = KVPool(decoder.config, len(sequences), size, decoder.dtype)
    return run(decoder.stages(batch, pool)).view(len(sequences), size, -1)


def perplexity(decoder: Decoder) -> float:
    """Over the held-out pieces."""
    found = logits(decoder, held_out())
    chosen = found[:, :-1].log_softmax(-1).gather(-1, torch.tensor(held_out())[:, 1:, None])
    return math.exp(-float(chosen.mean()))


def weights(decoder: Decoder, layer: int, name: str) -> Tensor:
    """A projection's weight as it is used: `[out, in]`, float32."""
    dense: Tensor = getattr(decoder.layers[layer], name).dense()
    return dense.float()
