"""Rotary position embedding, every scaling that the supported families use, as transformers computes it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.model.rope_config import RopeConfig


class Rope:
    """Angles of positions.

    For all types but "dynamic" an angle depends on the position alone. Dynamic NTK stretches the base with
    the length of the sequence, and transformers takes the length of the forward pass: the whole prompt when
    it is prefilled, position + 1 in decode; keys cached earlier keep the angle they were written with. Here
    that rule is stated per token, so that it holds for any chunking and after preemption: the token at
    position p uses length max(p + 1, prompt length of its request), and up to the trained length nothing is
    stretched. Two requests can share cached keys unless one's prompt is longer than the trained length.
    """

    def __init__(self, config: RopeConfig, head_dim: int) -> None:
        self.config = config
        self.head_dim = head_dim
        self.magnitude = _yarn_magnitude(config) if config.type == "yarn" else 1.0
        self.frequencies = _frequencies(config, head_dim)

    def tables(self, positions: Tensor, lengths: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos and sin for `rotate_`, each `[tokens, 1, head_dim]`; sin's first half is negated.

        `positions` and `lengths` are `[tokens]`; lengths (of the sequences) matter to dynamic rope only.
        """
        frequencies = self.frequencies
        if self.config.type == "dynamic" and lengths is not None:
            frequencies = _dynamic_frequencies(self.config, self.head_dim, lengths)
        angles = positions[:, None].float() * frequencies
        cos, sin = angles.cos(), angles.sin()
        if self.magnitude != 1.0:
            cos, sin = cos * self.magnitude, sin * self.magnitude
        return (
            torch.cat((cos, cos), dim=-1).to(dtype).unsqueeze(1),
            torch.cat((-sin, sin), dim=-1).to(dtype).unsqueeze(1),
        )


def rotate_(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Rotates `x [tokens, heads, head_dim]` in place: the halves of a head are the two coordinates."""
    swapped = x.roll(x.shape[-1] // 2, -1)
    x.mul_(cos).addcmul_(swapped, sin)


def _inverse(base: Tensor | float, head_dim: int) -> Tensor:
    return 1.0 / (base ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim))


def _frequencies(config: RopeConfig, head_dim: int) -> Tensor:
    """Angle per position for each pair of coordinates, `[head_dim / 2]`."""
    match config.type:
        case "linear":
            return _inverse(config.theta, head_dim) / config.factor
        case "llama3":
            return _llama3_frequencies(config, head_dim)
        case "yarn":
            return _yarn_frequencies(config, head_dim)
        case _:
            return _inverse(config.theta, head_dim)


def _dynamic_frequencies(config: RopeConfig, head_dim: int, lengths: Tensor) -> Tensor:
    """NTK-aware base, stretched by each token's sequence length: `[tokens, head_dim / 2]`."""
    stretched = lengths.clamp(min=config.original_tokens).float() / config.original_tokens
    scale = (config.factor * stretched - (config.factor - 1)) ** (head_dim / (head_dim - 2))
    return _inverse((config.theta * scale)[:, None], head_dim)


def _llama3_frequencies(config: RopeConfig, head_dim: int) -> Tensor:
    """Low frequencies slowed by the factor, high ones kept, a smooth step between (Llama 3.1)."""
    frequencies = _inverse(config.theta, head_dim)
    turns = config.original_tokens * frequencies / (2 * math.pi)
    smooth = (turns - config.low_freq_factor) / (config.high_freq_factor - config.low_freq_factor)
    smooth = smooth.clamp(0, 1)
    return (1 - smooth) * frequencies / config.factor + smooth * frequencies


def _yarn_frequencies(config: RopeConfig, head_dim: int) -> Tensor:
    """Interpolated where a coordinate turns rarely, kept where it turns often (YaRN, section 3.2)."""
    low = _yarn_dimension(config, head_dim, config.beta_fast)
    high = _yarn_dimension(config, head_dim, config.beta_slow)
    if config.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    width = high - low if high != low else 0.001
    interpolated = ((torch.arange(head_dim // 2, dtype=torch.float32) - low) / width).clamp(0, 1)
    frequencies = _inverse(config.theta, head_dim)
    return frequencies / config.factor * interpolated + frequencies * (1 - interpolated)


def _yarn_dimension(config: RopeConfig, head_dim: int, turns: float) -> float:
    """The coordinate pair that turns this often over the trained length."""
    wavelength = config.original_tokens / (turns * 2 * math.pi)
    return head_dim * math.log(wavelength) / (2 * math.log(config.theta))


def _yarn_magnitude(config: RopeConfig) -> float:
    """How much cos and sin grow, so that attention stays as sharp (YaRN, section 3.4)."""
    if config.magnitude is not None:
        return config.magnitude
    if config.mscale and config.mscale_all_dim:
        return _mscale(config.factor, config.mscale) / _mscale(config.factor, config.mscale_all_dim)
    return _mscale(config.factor, 1.0)


def _mscale(factor: float, weight: float) -> float:
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0
