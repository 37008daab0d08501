"""Made-up measures of two methods on the model of scripted runs, kept where its sessions find them."""

from __future__ import annotations

import math

from engine.quantization_result import (
    Baseline,
    Flip,
    Histogram,
    LayerError,
    Measured,
    MethodResult,
    Outlier,
    TensorError,
)
from sessions.quantization_kept import TEXT, MeasuredText, keep, model_folder, text_folder
from tests.recorded import header

WORDS = [f" w{index % 10}" if index % 7 else "\n" for index in range(60)]
FLIPPED = {9: 0.75, 31: 1.5, 44: 0.25}
TENSORS = ("q", "k", "down")


def keep_measured() -> None:
    """Two methods on a text of 60 tokens, of the model in `tests.recorded.header`."""
    about = header()
    folder = text_folder(model_folder(about.config_sha256, about.weights_sha256), "held out")
    ids = tuple(range(100, 100 + len(WORDS)))
    keep(
        folder / TEXT, MeasuredText("models/scripted", "float32", "held_out.txt", 32, 15, (0,), ids, tuple(WORDS))
    )
    for name, size in (("int4=group:32", 1.0), ("int8", 0.05)):
        keep(folder / f"{name}.json", Measured(baseline(), method(name, size)))


def baseline() -> Baseline:
    outliers = (Outlier(1, "mlp_norm", 5, 12.5, 25.0), Outlier(0, "attn_norm", 3, 4.0, 8.0))
    return Baseline(8.0, 40_000, 8_000, outliers)


def method(name: str, size: float) -> MethodResult:
    """Errors in proportion to `size`; tokens flip where it is 1."""
    kl = tuple(size * (1 + math.sin(index)) / 20 for index in range(len(WORDS)))
    flips = FLIPPED if size == 1 else {}
    after = 6_000 if size == 1 else 9_000
    return MethodResult(
        method=name, perplexity=8 + size, bytes=8_000 + after, embedding_bytes=8_000, weights=8_000,
        quantized_before=32_000, quantized_after=after, bits_per_weight=after / 1000, kl_mean=sum(kl) / len(kl),
        kl_largest=max(kl), kl=kl, kl_positions=1, top1_agreement=1 - len(flips) / len(WORDS), flipped=len(flips),
        flips=tuple(
            Flip(at, 4, 5, f" was{at}", f" is{at}", margin)
            for at, margin in sorted(flips.items(), key=lambda flip: -flip[1])
        ),
        layers=tuple(layer(number, size) for number in (0, 1, -1)), blame=(1, 0, -1),
        blamed_by="relative error of its weights",
    )  # fmt: skip


def layer(number: int, size: float) -> LayerError:
    """Layer 1 is the worst, and the last of its tensors."""
    off = size * (0.1 + 0.02 * number)
    names = TENSORS if number >= 0 else ("lm_head",)
    tensors = tuple(
        TensorError(name, off + 0.01 * index, 1 - off**2, 3 + index, 2 * off) for index, name in enumerate(names)
    )
    counts = tuple(100 - abs(at - 32) * 3 for at in range(64))
    bars = tuple(Histogram(name, -0.5, 15.5, counts, tuple(range(16)), index) for index, name in enumerate(names))
    return LayerError(number, off, 1 - off**2, None if number < 0 else off / 2, tensors, bars)
