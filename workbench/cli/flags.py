"""Options that several commands share, as dataclasses that a command takes as one parameter.

Every flag is None unless it is given, so that what is not given can come from elsewhere: the defaults of
`engine.params`, or the demo's settings.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import typer

from engine.adapters import parse_adapters
from engine.params import EngineOptions, SamplingParams
from workbench.cli.errors import CommandError
from workbench.cli.numbers import real, whole
from workbench.cli.sizes import parse_size

MOST_THREADS = 256

Params = TypeVar("Params", EngineOptions, SamplingParams)


def _engine(what: str, default: str) -> Any:
    return typer.Option(help=what, show_default=default, rich_help_panel="Engine")


def _sampling(what: str, default: str | bool = False) -> Any:
    return typer.Option(help=what, show_default=default, rich_help_panel="Sampling")


def _number(option: Any, parser: Callable[[str], float] = whole) -> Any:
    option.parser, option.metavar = parser, "INTEGER" if parser is whole else "NUMBER"
    return option


@dataclass(frozen=True, slots=True)
class EngineFlags:
    """How the engine runs (`engine.params.EngineOptions`)."""

    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"] | None, _engine("Compute in this type.", "auto")
    ] = None
    device: Annotated[str | None, _engine("Where to compute.", "cpu")] = None
    block_size: Annotated[int | None, _number(_engine("Tokens in a KV block.", "16"))] = None
    kv_blocks: Annotated[int | None, _number(_engine("KV blocks in the pool.", "from --kv-memory"))] = None
    kv_memory: Annotated[str | None, _engine("Memory for the KV pool.", "512MiB")] = None
    max_running: Annotated[int | None, _number(_engine("Requests that run at once.", "64"))] = None
    token_budget: Annotated[int | None, _number(_engine("Tokens computed in a step.", "512"))] = None
    chunked_prefill: Annotated[bool | None, _engine("Spread long prompts over steps.", "on")] = None
    prefix_cache: Annotated[bool | None, _engine("Keep the KV of prefixes and reuse it.", "on")] = None
    policy: Annotated[
        str | None,
        _engine("Admit first come first (fcfs), longest prefix match first (lpm), or as a plugin says.", "fcfs"),
    ] = None
    eviction: Annotated[str | None, _engine("What leaves the cache first: lru, or as a plugin says.", "lru")] = (
        None
    )
    seed: Annotated[int | None, _number(_engine("Seed of the requests that have none.", "0"))] = None
    threads: Annotated[int | None, _number(_engine("Threads of the forward pass.", "one a core"))] = None
    invariant: Annotated[
        bool | None,
        typer.Option(
            "--invariant", help="Compute every row alike, whatever its batch: slower.", show_default="off",
            rich_help_panel="Engine",
        ),
    ] = None  # fmt: skip
    capture: Annotated[
        list[str] | None,
        typer.Option(
            metavar="attn|logits|resid[:LAYERS]",
            help="Store tensors of each token's row (repeatable); layers as in attn:0-3 or resid:5,7.",
            show_default="nothing",
            rich_help_panel="Engine",
        ),
    ] = None

    plugin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE.py[=OPTIONS]",
            help="Switch a plugin on (repeatable); its options as in NAME=key:value,flag.",
            show_default=False,
            rich_help_panel="Engine",
        ),
    ] = None

    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER[,merged]",
            help="A LoRA adapter that requests may name (repeatable); merged: in the weights, for every request.",
            show_default=False,
            rich_help_panel="Engine",
        ),
    ] = None

    @property
    def plugin_files(self) -> tuple[Path, ...]:
        """The plugins that are files."""
        from workbench.cli.plugging import files_in

        return files_in(self.plugin or ())

    def options(self, base: EngineOptions) -> EngineOptions:
        """`base` with what was given. Raises OptionError or CommandError for a value that cannot be used."""
        if self.threads is not None and self.threads > MOST_THREADS:
            raise CommandError(f"--threads is {self.threads}: it must be at most {MOST_THREADS}")
        given = _given(self)
        if self.plugin is not None:
            from workbench.cli.plugging import plugged_in

            given["plugins"] = plugged_in(given.pop("plugin"))[0].asked
        if self.adapter is not None:
            given["adapters"] = _adapters(given.pop("adapter"))
        if self.capture is not None:
            given["capture"] = tuple(self.capture)
        memory = given.pop("kv_memory", None)
        if memory is not None:
            if "kv_blocks" in given:
                raise CommandError("--kv-blocks and --kv-memory both set the size of the pool: give one")
            given |= {"kv_memory_bytes": parse_size("--kv-memory", memory), "kv_blocks": None}
        return _replace(base, given)


@dataclass(frozen=True, slots=True)
class SamplingFlags:
    """How tokens are chosen for requests that do not say otherwise (`engine.params.SamplingParams`)."""

    max_tokens: Annotated[int | None, _number(_sampling("Tokens to generate at most.", "64"))] = None
    temperature: Annotated[float | None, _number(_sampling("0 is greedy.", "0"), real)] = None
    top_k: Annotated[int | None, _number(_sampling("Keep the k likeliest tokens.", "off"))] = None
    top_p: Annotated[float | None, _number(_sampling("Keep the likeliest up to this sum.", "off"), real)] = None
    min_p: Annotated[
        float | None, _number(_sampling("Keep what is at least this part of the likeliest.", "off"), real)
    ] = None
    stop: Annotated[list[str] | None, _sampling("End at this text (repeatable).")] = None
    n: Annotated[int | None, _number(_sampling("Samples of each prompt.", "1"))] = None
    chat: Annotated[
        bool,
        typer.Option("--chat", help="Put prompts into the model's chat template.", rich_help_panel="Sampling"),
    ] = False

    @property
    def samples(self) -> int:
        """How many samples of each prompt. Raises CommandError for a number that cannot be used."""
        if self.n is not None and not 1 <= self.n <= 64:
            raise CommandError(f"--n is {self.n}: it must be between 1 and 64")
        return self.n or 1

    def params(self) -> SamplingParams:
        """The settings. Raises OptionError for a value that cannot be used."""
        given = _given(self)
        settings = {name: given[name] for name in SamplingParams.__struct_fields__ if name in given}
        return _replace(SamplingParams(), settings | {"stop": tuple(self.stop or ())})


def _adapters(given: list[str]) -> tuple[str, ...]:
    """The option as a session keeps it: with whole paths."""
    from workbench.adapters_behind import written

    return tuple(written(replace(each, folder=each.folder.resolve())) for each in parse_adapters(given))


def _given(flags: EngineFlags | SamplingFlags) -> dict[str, Any]:
    return {name: value for name, value in asdict(flags).items() if value is not None}


def _replace(base: Params, given: dict[str, Any]) -> Params:
    return type(base)(**{name: getattr(base, name) for name in base.__struct_fields__} | given)


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with every parameter that is a dataclass of flags replaced by the dataclass's fields."""
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        if is_dataclass(hints[name]):
            groups[name] = hints[name]
            parameters += _flags_of(hints[name])
        else:
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[name]))

    def call(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    call.__name__, call.__doc__ = command.__name__, command.__doc__
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return call


def _flags_of(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(group)
    ]
