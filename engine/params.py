"""What a user may ask for: sampling settings, requests and engine options, each checked when it is made."""

from __future__ import annotations

import math
import re
from typing import Literal

import msgspec

from engine.adapters import NAME as ADAPTER_NAME
from engine.adapters import parse_adapters
from engine.capture import parse
from engine.interventions import Scale
from engine.option_error import OptionError as OptionError

MIB = 1 << 20
MOST_BEAMS = 64
_INT32 = 1 << 31
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_INT64 = 1 << 63

Policy = str
"""The name of a scheduling policy, of the engine or of a plugin."""
Eviction = str
"""The name of an eviction policy, of the engine or of a plugin."""
EarlyStopping = bool | Literal["never"]
DTypeName = Literal["auto", "float32", "bfloat16", "float16"]


def _require(condition: bool, name: str, value: object, allowed: str) -> None:
    if not condition:
        raise OptionError(f"{name} is {value!r}: {allowed}")


def _fits_64_bits(name: str, value: int) -> None:
    _require(-_INT64 <= value < _INT64, name, value, "it must fit 64 bits")


def _finite(name: str, value: float) -> None:
    _require(math.isfinite(value), name, value, "it must be a finite number")


class SamplingParams(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the next token of one request is chosen, in the order the stages run.

    Penalties follow transformers' processors (repetition) and OpenAI's definition over the output
    tokens (presence, frequency). `temperature` 0 is greedy; `top_k` 0, `top_p` 1 and `min_p` 0 are off.
    `adapter` names the one that it runs with, "" none. Requests of different `salt` share no cached prefix.
    With more than one of `beams` it is a beam search (`engine.beams`): `length_penalty` is the power of the
    length that its outputs' scores are divided by; `early_stopping` ends it with as many outputs as there are
    beams, and "never" only where no longer output could be better.
    """

    max_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = {}
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    adapter: str = ""
    salt: str = ""
    beams: int = 1
    length_penalty: float = 1.0
    early_stopping: EarlyStopping = False

    def __post_init__(self) -> None:
        _require(self.max_tokens >= 1, "max_tokens", self.max_tokens, "it must be at least 1")
        for name in ("temperature", "presence_penalty", "frequency_penalty", "min_p", "top_p"):
            _finite(name, getattr(self, name))
        _require(self.temperature >= 0, "temperature", self.temperature, "it must be 0 (greedy) or more")
        _require(self.top_k >= 0, "top_k", self.top_k, "it must be 0 (off) or more")
        _require(0 < self.top_p <= 1, "top_p", self.top_p, "it must be above 0 and at most 1")
        _require(0 <= self.min_p <= 1, "min_p", self.min_p, "it must be between 0 and 1")
        _finite("repetition_penalty", self.repetition_penalty)
        _require(self.repetition_penalty > 0, "repetition_penalty", self.repetition_penalty, "it must be above 0")
        _require(all(self.stop), "stop", self.stop, "a stop string must not be empty")
        if self.seed is not None:
            _fits_64_bits("seed", self.seed)
        for token in self.stop_ids:
            _require(0 <= token < _INT32, "stop_ids", token, "it is no token id")
        for token, bias in self.logit_bias.items():
            _require(token >= 0, "logit_bias", token, "token ids are not negative")
            _finite(f"logit_bias[{token}]", bias)
        if self.adapter:
            named = bool(ADAPTER_NAME.fullmatch(self.adapter))
            _require(named, "adapter", self.adapter, "it must be a name: letters, digits, -, _ and .")
        self._check_search()
        _require(len(self.salt) <= 256, "salt", self.salt, "it must have at most 256 characters")

    def _check_search(self) -> None:
        _require(1 <= self.beams <= MOST_BEAMS, "beams", self.beams, f"it must be between 1 and {MOST_BEAMS}")
        _require(
            math.isfinite(self.length_penalty) and abs(self.length_penalty) <= 100, "length_penalty",
            self.length_penalty, "it must be between -100 and 100",
        )  # fmt: skip
        if self.beams > 1:
            _require(self.greedy, "temperature", self.temperature, f"with {self.beams} beams it must be 0")
            _require(not self.stop, "stop", self.stop, f"with {self.beams} beams use stop_ids")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0


class RequestSpec(msgspec.Struct, frozen=True):
    """One request as the engine takes it: token ids, already encoded.

    `n` samples of one prompt share its prefill; `priority` is higher-first.
    """

    prompt_ids: tuple[int, ...]
    params: SamplingParams = SamplingParams()
    n: int = 1
    priority: int = 0

    def __post_init__(self) -> None:
        _require(len(self.prompt_ids) > 0, "prompt", "", "it must have at least one token")
        for token in (min(self.prompt_ids), max(self.prompt_ids)):
            _require(0 <= token < _INT32, "prompt", token, "it is no token id")
        _fits_64_bits("priority", self.priority)
        _require(1 <= self.n <= 64, "n", self.n, "it must be between 1 and 64")
        _require(
            self.n == 1 or self.params.beams == 1, "n", self.n,
            f"with {self.params.beams} beams it must be 1: a search returns its best outputs",
        )  # fmt: skip


class ForkSpec(msgspec.Struct, frozen=True):
    """What to fork and what to change; what is not given stays the parent's.

    The fork has the parent's tokens before `at_position`. Then comes `token`, or a prompt that ends with
    `prompt_ids` from there on, or whatever the model chooses under the new settings. `scales` change the
    forward pass from the row on that chooses the token at `at_position`; inside the prompt, from that
    position's own row on.
    """

    parent: str
    at_position: int
    token: int | None = None
    prompt_ids: tuple[int, ...] | None = None
    params: SamplingParams | None = None
    scales: tuple[Scale, ...] = ()


class EngineOptions(msgspec.Struct, frozen=True):
    """How the engine runs. Sizes are in blocks, tokens or bytes as the names say.

    `capture` says which tensors of the rows that choose tokens go to the sink: specs as `engine.capture` reads
    them. `invariant`: a row's logits do not depend on the batch it is computed in, at the price of speed.
    `plugins` are those switched on, as `NAME` or `NAME=OPTIONS`, in the order they are asked. `adapters` are
    those that requests may name, as `NAME=FOLDER`; `NAME=FOLDER,merged` is part of the weights.
    """

    dtype: DTypeName = "auto"
    device: str = "cpu"
    block_size: int = 16
    kv_blocks: int | None = None
    kv_memory_bytes: int = 512 * MIB
    max_running: int = 64
    token_budget: int = 512
    chunked_prefill: bool = True
    prefix_cache: bool = True
    policy: Policy = "fcfs"
    eviction: Eviction = "lru"
    seed: int = 0
    threads: int | None = None
    capture: tuple[str, ...] = ()
    invariant: bool = False
    plugins: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require(
            self.dtype in ("auto", "float32", "bfloat16", "float16"),
            "dtype",
            self.dtype,
            "use auto, float32, bfloat16 or float16",
        )
        _require(1 <= self.block_size <= 4096, "block_size", self.block_size, "it must be between 1 and 4096")
        if self.kv_blocks is not None:
            _require(
                1 <= self.kv_blocks <= 1 << 24, "kv_blocks", self.kv_blocks, "it must be between 1 and 16777216"
            )
        _require(self.kv_memory_bytes >= 1, "kv_memory", self.kv_memory_bytes, "it must be above 0")
        _require(self.max_running >= 1, "max_running", self.max_running, "it must be at least 1")
        _require(self.token_budget >= 1, "token_budget", self.token_budget, "it must be at least 1")
        for what in ("policy", "eviction"):
            name = getattr(self, what)
            _require(bool(_NAME.fullmatch(name)), what, name, "it must be a name: letters, digits and -")
        _fits_64_bits("seed", self.seed)
        _require(self.threads is None or self.threads >= 1, "threads", self.threads, "it must be at least 1")
        for spec in self.capture:
            parse(spec)
        parse_adapters(self.adapters)
