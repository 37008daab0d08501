"""A recorded run whose text is hostile and secret, with captured tensors: what tests of exports read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.capture import Captured, TensorKey
from engine.engine import Engine
from engine.execution import Limits
from engine.params import RequestSpec, SamplingParams
from sessions.creating import create_session
from sessions.reader import Session
from sessions.records import TokenRow
from sessions.writer import Writer
from tests.recorded import SHAPE, header
from tests.sampled import SETTINGS, SamplingExecutor
from tests.scripted import VOCAB

HOSTILE = (
    "</script><script>alert(1)</script>", "<!--", "]]>", '"><img src=x onerror=alert(2)>', "&lt;b&gt;",
    '\\G\\n"q"', "\x1b[31m\x07", "\u202eright", "\u2028", "{{data}}", "'; DROP TABLE tokens; --", "=cmd()",
    "zq\nline",
)  # fmt: skip
"""Texts that would do something where they are not only shown."""
TEXTS = (*HOSTILE, *(f"zq{number}secret" for number in range(VOCAB - len(HOSTILE))))
STOP = "zq-stop-secret"
STAGES = ("attn_pattern", "resid_post", "logits")


def tokenizer_json() -> bytes:
    """A tokenizer with a word for each of TEXTS."""
    vocabulary = {text: number for number, text in enumerate(TEXTS)}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": TEXTS[-1]}
    parts = ("normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation", "padding")
    return json.dumps({"version": "1.0", "added_tokens": [], "model": model} | dict.fromkeys(parts)).encode()


def record_spiced(path: Path, close: bool = True) -> Path:
    """A session with a request for each of SETTINGS and one with a stop string, and tensors of every token."""
    about = header(40, block_size=4, token_budget=16, capture=("attn", "resid", "logits"))
    create_session(path, about, tokenizer_json())
    writer = Writer(path)
    executor = SamplingExecutor(about.num_blocks, about.options.block_size)
    engine = Engine(executor, Limits(10_000, VOCAB), about.num_blocks, about.options, writer)
    for start, params in enumerate(SETTINGS):
        engine.submit(RequestSpec(tuple(range(start * 3 % 7, 12)), params))
    engine.submit(RequestSpec((1, 2, 3), SamplingParams(max_tokens=3, stop=(STOP,), stop_ids=(7,)), n=2))
    engine.run()
    writer.write()
    writer.capture(_tensors(path))
    writer.write()
    if close:
        writer.close()
    return path


def attention(position: int, layer: int) -> npt.NDArray[np.float32]:
    """The made-up pattern [heads, kv] of the row that chose the token at `position`."""
    rng = np.random.default_rng(position * 100 + layer)
    return rng.dirichlet(np.full(position, 0.3), SHAPE.heads).astype(np.float32)


def residual(position: int, layer: int) -> npt.NDArray[np.float32]:
    """The made-up residual stream [hidden] after a layer, of the row that chose the token at `position`."""
    return np.full(16, position + layer, np.float32)


def _tensors(path: Path) -> Iterator[Captured]:
    with Session.open(path) as session:
        for request in session.requests():
            for row in session.tokens(request.request):
                for layer in range(SHAPE.layers):
                    yield _captured(row, layer, "attn_pattern", attention(row.position, layer))
                    yield _captured(row, layer, "resid_post", residual(row.position, layer))
                yield _captured(row, None, "logits", np.arange(VOCAB, dtype=np.float32))


def _captured(row: TokenRow, layer: int | None, stage: str, values: npt.NDArray[np.float32]) -> Captured:
    key = TensorKey(0, row.chosen_step, row.request, layer, stage, row.position - 1)
    return Captured(key, "F32", values.shape, values.tobytes())
