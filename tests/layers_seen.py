"""What an engine says of layers, made up: looked-at rows, and where a pass stands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine import protocol as pr
from engine.model.stage_names import LAST_STAGES, points
from engine.stage_report import Part, Passed, Source, Standing, Stats, Values
from tests.recorded import SHAPE
from tests.sampled import logits_after

HIDDEN = 32
TOP = 5
TEXT = ("    def _mlp(self, x):", "        h = self.mlp_norm(x)", "        return h")
SOURCE = Source("engine/model/layer.py", "Layer._mlp", 40, TEXT, (41,))
POINTS = list(points(SHAPE.layers))


def shape_of(stage: str, tokens: int) -> tuple[int, ...]:
    if stage in ("q", "q_rot", "attn_out"):
        return tokens, SHAPE.heads, SHAPE.head_dim
    if stage in ("k", "v", "k_rot"):
        return tokens, SHAPE.kv_heads, SHAPE.head_dim
    return tokens, SHAPE.vocab_size if stage == "logits" else HIDDEN


def values_like(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, shape).astype(np.float32)


def stats_like(values: np.ndarray) -> Stats:
    at = np.unravel_index(np.abs(values).argmax(), values.shape)
    exact = values.astype(float)
    return Stats(
        exact.mean(), float(np.sqrt((exact**2).mean())), exact.min(), exact.max(), float(np.linalg.norm(exact)),
        float(values[at]), tuple(map(int, at)), 0, 0,
    )  # fmt: skip


def passed(index: int, tokens: int, parts: int = 1, nans: int = 0) -> Passed:
    layer, stage = POINTS[index]
    rows = parts if stage in LAST_STAGES else tokens
    stats = stats_like(values_like(shape_of(stage, tokens), index))
    odd = Stats(stats.mean, stats.rms, stats.low, stats.high, stats.norm, stats.largest, stats.at, nans, 0)
    return Passed(layer, stage, "float32", shape_of(stage, rows), 1_000 * (index + 1), (odd,) * parts)


def exact(values: np.ndarray) -> Values:
    flat = values.reshape(len(values), -1)
    return Values(0, flat.shape[0], 1, 0, flat.shape[1], 1, flat.tobytes())


def report(
    index: int | None, *, step: int = 17, news: Sequence[int] = (), parts: Sequence[Part] = (Part("2", 19, 1),),
    request: str = "2", nans: int = 0, values: Values | None = None, place: str = "at",
) -> pr.StageReport:  # fmt: skip
    """A pass that stands at the stage with that index; `news` are the stages it passed."""
    tokens = sum(part.tokens for part in parts)
    told = tuple(passed(at, tokens, len(parts), nans) for at in news)
    if index is None:
        return pr.StageReport(step=step, place=place, parts=tuple(parts))  # type: ignore[arg-type]
    layer, stage = POINTS[index]
    rows = next(part.tokens for part in parts if part.request == request)
    shape = shape_of(stage, rows)
    shown = exact(values_like(shape, index)) if values is None else values
    standing = Standing(layer, stage, request, shape, shown, (SOURCE,))
    return pr.StageReport(step=step, place="at", parts=tuple(parts), passed=told, standing=standing)


def layers_seen(command: pr.LookLayers, tokens: Sequence[int]) -> pr.LayersSeen:
    """An answer as the engine gives it: the row's own logits, and parts that add up to the token's."""
    kv = command.position + 1
    rng = np.random.default_rng(kv)
    logits = logits_after(tokens[:kv])
    after = tokens[kv] if kv < len(tokens) else None
    token = command.token if command.token is not None else int(logits.argmax()) if after is None else after
    depths = SHAPE.layers + 1
    lens = rng.normal(0, 3, (depths, SHAPE.vocab_size))
    lens[-1] = logits
    log_probs = lens - np.log(np.exp(lens).sum(-1, keepdims=True))
    ids = np.argsort(-lens, axis=-1)[:, :TOP]
    attn, mlp = rng.normal(0, 1, (2, SHAPE.layers)).astype(np.float32)
    heads = np.repeat(attn[:, None] / SHAPE.heads, SHAPE.heads, axis=1)
    logit, remainder = float(logits[token]), 3e-7
    stages = [passed(index, 1) for index in range(len(POINTS))]
    return pr.LayersSeen(
        id=command.id, request=command.request, position=command.position, token=token, follows=token == after,
        layers=SHAPE.layers, n_heads=SHAPE.heads, top=TOP, stages=tuple(stages),
        values=tuple(exact(values_like(each.shape, at)) for at, each in enumerate(stages)), sources=(SOURCE,),
        source_of=((0,),) * len(POINTS), lens_ids=_bytes(ids, "<i4"),
        lens_probs=_bytes(np.exp(np.take_along_axis(log_probs, ids, -1))),
        rank=_bytes((lens > lens[:, token, None]).sum(-1) + 1, "<i4"), prob=_bytes(np.exp(log_probs[:, token])),
        lens_logit=_bytes(lens[:, token]),
        kl=_bytes((np.exp(log_probs[-1]) * (log_probs[-1] - log_probs)).sum(-1)),
        resid_norm=_bytes(np.linspace(2, 40, depths)),
        embed=logit - remainder - float(attn.sum() + mlp.sum()), attn=_bytes(attn), mlp=_bytes(mlp),
        heads=_bytes(heads), logit=logit, remainder=remainder, logits=_bytes(logits), reused=kv - 1, prefilled=0,
    )  # fmt: skip


def _bytes(values: np.ndarray, dtype: str = "<f4") -> bytes:
    return np.ascontiguousarray(values).astype(dtype).tobytes()
