"""What a change to a run would do, or has done, in plain words: forks and going back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from engine.interventions import Scale
from engine.params import SamplingParams
from engine.wording.parts import TokenText, plural
from engine.wording.requests import scale_words

_DEFAULTS: Final = SamplingParams()


def rewind_cost(recomputed_tokens: int) -> str:
    """What going back takes, when what is lost is computed again in chunks."""
    if not recomputed_tokens:
        return "all its KV is still in place, and nothing is computed again"
    return f"KV of {plural(recomputed_tokens, 'token')} is lost and will be computed again"


def exact_cost(replayed_steps: int, replayed_from: int) -> str:
    """What going back exactly takes: recorded steps that run again, as they were."""
    if not replayed_steps:
        return "all its KV is still in place, and nothing runs again"
    return f"runs {plural(replayed_steps, 'recorded step')} again, from step {replayed_from}"


def scales_words(scales: Sequence[Scale]) -> str:
    """Scaled stages; attention and MLP of one layer changed alike are the layer."""
    words: list[str] = []
    left = list(scales)
    while left:
        scale = left.pop(0)
        twin = next((other for other in left if _is_layer(scale, other)), None)
        if twin is None:
            words.append(scale_words(scale))
        else:
            left.remove(twin)
            words.append(
                f"layer {scale.layer} " + ("switched off" if not scale.factor else f"times {scale.factor:g}")
            )
    return ", ".join(words)


def _is_layer(one: Scale, other: Scale) -> bool:
    return {one.stage, other.stage} == {"attn_proj", "mlp_out"} and (one.layer, one.factor) == (
        other.layer, other.factor,
    )  # fmt: skip


def settings_words(params: SamplingParams, before: SamplingParams) -> str:
    """Settings that differ: `temperature 0.8 (was 0), seed 7`."""
    now, then = msgspec.structs.asdict(params), msgspec.structs.asdict(before)
    return ", ".join(_setting(name, now[name], then[name]) for name in now if now[name] != then[name])


def _setting(name: str, now: Any, then: Any) -> str:
    if name == "seed":
        return "the engine's seed" if now is None else f"seed {now}"
    shown = f"{now:g}" if isinstance(now, int | float) else str(now) or "none"
    was = f"{then:g}" if isinstance(then, int | float) else str(then) or "none"
    return f"{name} {shown} (was {was})"


def fork_words(
    changed: Sequence[str],
    appended: Sequence[int],
    scales: Sequence[Scale],
    token_text: TokenText,
    settings: str = "other settings",
) -> str:
    """What a fork changed, for a table: `' raise' there, layer 4 head 3 switched off`."""
    said: dict[str, Callable[[], str]] = {
        "token": lambda: f"'{token_text(appended[0])}' there",
        "prompt": lambda: f"another end of the prompt ({plural(len(appended), 'token')})",
        "params": lambda: settings,
        "stages": lambda: scales_words(scales),
        "beam": lambda: "a beam",
    }
    return ", ".join(said[kind]() for kind in changed) or "nothing changed"


__all__ = ["exact_cost", "fork_words", "rewind_cost", "scales_words", "settings_words"]
