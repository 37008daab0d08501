"""A fork as a person describes it: what to fork where, what to change, and what that will do, in plain words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from engine.interventions import Scale
from engine.option_error import OptionError
from engine.params import SamplingParams
from engine.protocol import ForkText
from engine.sanitise import display_text
from engine.wording import TokenText, plural
from engine.wording.changes import scales_words, settings_words
from workbench.settings_fields import FIELDS, read_field

TAIL_TOKENS: Final = 16
"""How much of a prompt's end is offered to be edited where no position inside it was chosen."""


@dataclass(frozen=True)
class ForkHint:
    """What a view would change: it fills the fork box in beforehand."""

    position: int | None = None
    token: int | None = None
    params: SamplingParams | None = None
    stages: str = ""


@dataclass(frozen=True)
class Parent:
    """What can be forked: a request with its tokens, its settings and the model's shape."""

    request: str
    tokens: Sequence[int]
    prompt_tokens: int
    params: SamplingParams
    layers: int
    heads: int
    token_text: TokenText


@dataclass(frozen=True)
class Typed:
    """What stands in the fork box. `prompt_end` is None where nobody edited it."""

    position: str
    token: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    prompt_end: str | None = None
    stages: str = ""


def read_fork(typed: Typed, parent: Parent) -> ForkText:
    """The fork a person described. Raises OptionError in one line, with the value and what is allowed."""
    position = read_position(typed.position, parent)
    token, text = _token(typed.token)
    if typed.prompt_end is not None and (token is not None or text is not None):
        raise OptionError("a fork has either another token or another end of the prompt, not both")
    params = read_settings(typed.settings, parent.params)
    scales = read_stages(typed.stages, parent)
    in_prompt = position < parent.prompt_tokens
    if in_prompt and typed.prompt_end is None and (token is not None or text is not None or not scales):
        raise OptionError(
            f"position {position} is in the prompt, where no token is chosen: edit the prompt's end there, scale"
            f" a stage, or fork at {parent.prompt_tokens} or later"
        )
    if typed.prompt_end is not None and position > parent.prompt_tokens:
        raise OptionError(
            f"the prompt ends at position {parent.prompt_tokens}: edit its end from there or before"
        )
    return ForkText(
        parent.request, position, token, text, typed.prompt_end, None,
        None if params == parent.params else params, scales,
    )  # fmt: skip


def read_position(text: str, parent: Parent) -> int:
    """A position of the parent. Raises OptionError."""
    last = len(parent.tokens)
    if not text.strip().isdecimal() or int(text) > last:
        raise OptionError(f"position is {text.strip()!r}: request {parent.request} can fork at 0 to {last}")
    return int(text)


def _token(typed: str) -> tuple[int | None, str | None]:
    """A token by id (`#318`) or by text, in quotes where spaces matter; `\\n` is a newline."""
    if not typed.strip():
        return None, None
    if (named := re.fullmatch(r"\s*#(\d{1,9})\s*", typed)) is not None:
        return int(named[1]), None
    quoted = re.fullmatch(r"\s*(['\"])(.*)\1\s*", typed, re.DOTALL)
    text = quoted[2] if quoted else typed
    return None, text.replace("\\n", "\n").replace("\\t", "\t")


def read_settings(values: Mapping[str, str], before: SamplingParams) -> SamplingParams:
    """The parent's settings with what was typed over them; a fork is no beam search. Raises OptionError."""
    changes: dict[str, Any] = {
        each.name: read_field(each, values[each.name]) for each in FIELDS if each.name in values
    }
    return msgspec.structs.replace(before, beams=1, **changes)


# -- stages --------------------------------------------------------------------------------------------

_PLACE = re.compile(
    r"layer\s+(?P<layer>\d+)(\s+(?P<part>attention|attn|mlp|head\s+(?P<head>\d+)))?"
    r"(\s+(?P<how>off|(times|x|×|\*)?\s*-?[\d.]+(e-?\d+)?))?",
    re.IGNORECASE,
)
STAGES_HELP: Final = "layer 4 · layer 4 head 3 · layer 4 attention · layer 4 mlp × 0.5 (off unless × is given)"


def read_stages(text: str, parent: Parent) -> tuple[Scale, ...]:
    """Stages to scale, apart by commas: `layer 4 head 3, layer 5 mlp × 0.5`. Raises OptionError."""
    scales = [scale for part in text.split(",") if part.strip() for scale in _stage(part.strip())]
    for scale in scales:
        scale.check(parent.layers, parent.heads)
    places = [(scale.layer, scale.stage, scale.head) for scale in scales]
    if len(set(places)) < len(places):
        raise OptionError("a stage is named twice: say once what happens to it")
    return tuple(scales)


def _stage(text: str) -> list[Scale]:
    found = _PLACE.fullmatch(text)
    if found is None:
        raise OptionError(f"{display_text(text)!r} is no stage to scale: write {STAGES_HELP}")
    layer, factor = int(found["layer"]), _factor(found["how"])
    match (found["part"] or "").lower().split():
        case []:
            return [Scale(layer, "attn_proj", factor), Scale(layer, "mlp_out", factor)]
        case ["mlp"]:
            return [Scale(layer, "mlp_out", factor)]
        case ["head", head]:
            return [Scale(layer, "attn_out", factor, int(head))]
        case _:
            return [Scale(layer, "attn_proj", factor)]


def _factor(how: str | None) -> float:
    if how is None or how.lower() == "off":
        return 0.0
    number = how.lower().removeprefix("times").lstrip("x×* ").strip()
    try:
        return float(number)
    except ValueError:
        raise OptionError(f"factor is {number!r}: it must be a number") from None


# -- words ---------------------------------------------------------------------------------------------


def what_happens(fork: ForkText, parent: Parent) -> list[str]:
    """What the engine will do with `fork`, sentence by sentence."""
    position = fork.at_position
    sentences = [
        f"A new request takes the {plural(position, 'token')} before position {position} from request"
        f" {parent.request}, with what is left of their KV, and runs beside it."
    ]
    changes = [*_tokens_words(fork, parent)]
    if fork.params is not None:
        changes.append(f"It is sampled with {settings_words(fork.params, parent.params)}.")
    if fork.scales:
        at = position if position < parent.prompt_tokens or not position else position - 1
        changes.append(f"From row {at} on: {scales_words(fork.scales)}.")
    if not changes:
        changes.append("Nothing is changed: it does again what its parent did.")
    return sentences + changes


def _tokens_words(fork: ForkText, parent: Parent) -> list[str]:
    position = fork.at_position
    before = (
        f" in place of '{parent.token_text(parent.tokens[position])}'" if position < len(parent.tokens) else ""
    )
    if fork.token is not None:
        return [f"Position {position} is '{parent.token_text(fork.token)}' (#{fork.token}){before}."]
    if fork.text is not None:
        return [f"Position {position} is '{display_text(fork.text)}'{before}, if that is one token."]
    if fork.prompt_end is not None:
        return [f"Its prompt ends with what was typed, from position {position} on."]
    return []


__all__ = [
    "STAGES_HELP",
    "TAIL_TOKENS",
    "ForkHint",
    "Parent",
    "Typed",
    "read_fork",
    "read_position",
    "read_settings",
    "read_stages",
    "what_happens",
]
