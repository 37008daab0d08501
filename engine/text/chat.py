"""Chat templates: from messages to the prompt text the model was trained on.

A template is a program that comes with the model, so it runs in jinja2's sandbox, sees plain data only, and
gets the few names that transformers gives it (`apply_chat_template`), no more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from engine.text.errors import TextError

__all__ = ["ChatTemplate"]

Message = Mapping[str, Any]

_SPECIAL_TOKENS = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)


class ChatTemplate:
    """The chat template of a model folder, and the special tokens it may name."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        self.source = source
        self._special_tokens = dict(special_tokens)
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise TextError(f"the chat template does not parse: line {error.lineno}: {error.message}") from error

    @classmethod
    def from_folder(cls, folder: Path, name: str = "default") -> ChatTemplate:
        """The template called `name`. Raises TextError if there is none, or it does not parse."""
        config = _read_config(folder / "tokenizer_config.json")
        templates = _templates(folder, config)
        if name not in templates:
            known = f"; it has {', '.join(sorted(templates))}" if templates else ""
            raise TextError(f"{folder} has no {name} chat template{known}: give a raw prompt instead")
        return cls(templates[name], _special_tokens(config))

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> str:
        """The prompt text of a conversation, special tokens included: encode it without adding any.

        `messages` have a `role` and a `content`; `variables` are what a template takes besides, such as
        `enable_thinking`. Raises TextError with the template's reason if it refuses them.
        """
        given: dict[str, Any] = {
            "messages": list(messages),
            "tools": list(tools) if tools else None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            return self._template.render(**self._special_tokens | given | variables)
        except Exception as error:  # a template is a program: it can fail in any way
            raise TextError(f"the chat template failed: {error or type(error).__name__}") from error


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TextError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise TextError(f"{path} is not a JSON object")
    return config


def _templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """All templates by name; files win over the configuration, as in transformers."""
    templates = _configured(config.get("chat_template"))
    single = folder / "chat_template.jinja"
    if single.is_file():
        templates["default"] = _read_template(single)
    for path in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        templates[path.stem] = _read_template(path)
    return templates


def _configured(entry: object) -> dict[str, str]:
    """The `chat_template` of tokenizer_config.json: one template, or a list of named ones."""
    if isinstance(entry, str):
        return {"default": entry}
    try:
        return {str(named["name"]): str(named["template"]) for named in entry or ()}  # type: ignore[attr-defined]
    except (TypeError, KeyError) as error:
        raise TextError("chat_template in tokenizer_config.json is neither text nor a list of them") from error


def _read_template(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TextError(f"{path} is not UTF-8 text") from error


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens the configuration names, written as text or as an object with `content`."""
    entries = ((name, config.get(name)) for name in _SPECIAL_TOKENS)
    texts = ((name, entry.get("content") if isinstance(entry, dict) else entry) for name, entry in entries)
    return {name: text for name, text in texts if isinstance(text, str)}


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    environment.globals["namespace"] = _PlainNamespace
    environment.globals["dict"] = _PlainDict()
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without jinja2's HTML escapes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(layout: str) -> str:
    return datetime.now().strftime(layout)


class _PlainDict:
    """`dict(...)` for templates, without the class itself."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)


class _PlainNamespace(Namespace):
    """`namespace(...)` for templates, without the underscore names that reach Python's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        attributes = dict(*args, **kwargs)
        for name in attributes:
            _check_public(name)
        super().__init__(attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_public(name)
        super().__setitem__(name, value)


def _check_public(name: object) -> None:
    if str(name).startswith("_"):
        raise jinja2.TemplateError(f"a namespace has no place for {name!r}")


class _GenerationBlock(Extension):
    """`{% generation %}` marks what the assistant says, for training; here it is only its content."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it on the instance)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)
