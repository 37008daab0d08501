"""Forks: a request that goes on from a position of another one, with something changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from engine.events import Change
from engine.execution import Limits
from engine.interventions import Intervened
from engine.option_error import OptionError
from engine.params import ForkSpec, SamplingParams
from engine.sampler_rows import seed_of
from engine.stages import check_vocabulary
from engine.tokens import Asked, TokenLog

__all__ = ["Fork", "ForkSpec", "make_fork"]


@dataclass(frozen=True, slots=True)
class Fork:
    """What `events.Forked` says of a fork."""

    appended: tuple[int, ...]
    prompt_tokens: int
    params: SamplingParams
    sample: int
    priority: int
    changed: tuple[Change, ...]
    intervened: Intervened | None


class _Origin(NamedTuple):
    """What a fork starts from: the parent's tokens so far, and what it asked for."""

    tokens: Sequence[int]
    asked: Asked


def make_fork(spec: ForkSpec, log: TokenLog, limits: Limits, engine_seed: int) -> Fork:
    """Work out a fork. Raises OptionError, in one line, where the parent has no such position or it can't run."""
    if spec.parent not in log:
        raise OptionError(f"there is no request {spec.parent}")
    origin = _Origin(log.tokens_of(spec.parent), log.asked(spec.parent))
    _check_place(spec, origin)
    for scale in spec.scales:
        scale.check(limits.layers, limits.heads)
    appended, prompt_tokens = _tokens(spec, origin)
    total = spec.at_position + len(appended)
    if total >= limits.max_context:
        raise OptionError(f"the fork would start with {total} tokens: the context holds {limits.max_context}")
    for token in appended:
        if not 0 <= token < limits.vocab_size:
            raise OptionError(f"token is {token}: the vocabulary has {limits.vocab_size}")
    params = _params(spec, origin, engine_seed, total - prompt_tokens, limits.max_context - prompt_tokens)
    check_vocabulary(params, limits.vocab_size)
    asked, intervened = origin.asked, _intervened(spec, origin)
    return Fork(appended, prompt_tokens, params, asked.sample, asked.priority, _changed(spec), intervened)


def _check_place(spec: ForkSpec, origin: _Origin) -> None:
    most = len(origin.tokens)
    where = f"position is {spec.at_position}: request {spec.parent}"
    if not 0 <= spec.at_position <= most:
        raise OptionError(f"{where} has {most} tokens; fork at 0 to {most}")
    if spec.prompt_ids is not None:
        if spec.token is not None:
            raise OptionError("a fork has either another token or another end of the prompt, not both")
        if spec.at_position > origin.asked.prompt_tokens:
            raise OptionError(
                f"{where} has {origin.asked.prompt_tokens} prompt tokens; edit the prompt's end from there"
            )
        if spec.at_position == 0 and not spec.prompt_ids:
            raise OptionError("prompt is '': it must have at least one token")
    elif spec.at_position < origin.asked.prompt_tokens and (spec.token is not None or not spec.scales):
        raise OptionError(f"{where} chose no token there, it is in the prompt; edit the prompt's end instead")


def _tokens(spec: ForkSpec, origin: _Origin) -> tuple[tuple[int, ...], int]:
    """The fork's own tokens from `at_position` on, and how many of all its tokens are prompt."""
    if spec.prompt_ids is not None:
        return spec.prompt_ids, spec.at_position + len(spec.prompt_ids)
    if spec.at_position < origin.asked.prompt_tokens:
        return tuple(origin.tokens[spec.at_position : origin.asked.prompt_tokens]), origin.asked.prompt_tokens
    return () if spec.token is None else (spec.token,), origin.asked.prompt_tokens


def _params(spec: ForkSpec, origin: _Origin, engine_seed: int, outputs: int, room: int) -> SamplingParams:
    """The settings of the fork: its draws are the parent's until the seed is changed. It is no beam search."""
    params = spec.params or origin.asked.params
    seed = seed_of(engine_seed, spec.parent, origin.asked.params) if params.seed is None else params.seed
    most = min(max(params.max_tokens, outputs + 1), max(room, outputs + 1))
    return msgspec.structs.replace(params, seed=seed, max_tokens=most, beams=1)


def _changed(spec: ForkSpec) -> tuple[Change, ...]:
    kinds: tuple[tuple[Change, bool], ...] = (
        ("token", spec.token is not None), ("prompt", spec.prompt_ids is not None),
        ("params", spec.params is not None), ("stages", bool(spec.scales)),
    )  # fmt: skip
    return tuple(kind for kind, given in kinds if given)


def _intervened(spec: ForkSpec, origin: _Origin) -> Intervened | None:
    if not spec.scales:
        return origin.asked.intervened
    if origin.asked.intervened is not None:
        raise OptionError(f"request {spec.parent} has scaled stages already: fork the request it came from")
    in_prompt = spec.at_position < origin.asked.prompt_tokens or spec.at_position == 0
    return Intervened(spec.at_position if in_prompt else spec.at_position - 1, spec.scales)
