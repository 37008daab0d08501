"""`NAME=key:value,key=value,flag`: what `--plugin` is given, checked against a plugin's typed options."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
import msgspec.inspect as inspect

from plugins.errors import PluginError

_MANY: Final = (inspect.VarTupleType, inspect.ListType, inspect.SetType, inspect.FrozenSetType)
_ON, _FLAG = "true", "on or off"
_WORDS = {"on": _ON, "yes": _ON, "off": "false", "no": "false"}


class Asked(NamedTuple):
    """A plugin by its name, or a file by its path, and what was said about its options."""

    source: str
    arguments: str

    @property
    def is_file(self) -> bool:
        return self.source.endswith(".py") or "/" in self.source


class Option(NamedTuple):
    """An option for people: its name, what it takes, its default and what it is for."""

    name: str
    type: str
    default: str
    meaning: str


def parse_asked(text: str) -> Asked:
    """`NAME[=ARGS]` or `path/to/file.py[=ARGS]`. Raises PluginError where there is no name."""
    source, _, arguments = text.partition("=")
    if not source:
        raise PluginError(f"--plugin is {text!r}: give a name or a file first, as in NAME=key:value")
    return Asked(source, arguments)


def read_options(plugin: str, kind: type[msgspec.Struct], arguments: str) -> msgspec.Struct:
    """The options that `arguments` give. Raises PluginError naming plugin, option, value and what is allowed."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    given: dict[str, Any] = {}
    for name, said in _pairs(plugin, arguments):
        field = fields.get(name)
        if field is None:
            allowed = ", ".join(fields) or "no options"
            raise PluginError(f"plugin {plugin} has no option {name}: it takes {allowed}")
        many = _takes_many(field.type)
        if not many and name in given:
            raise PluginError(f"plugin {plugin}: option {name} is given twice: leave one out")
        value = _value_of(plugin, name, said, field.type)
        _checked(plugin, name, [value] if many else value, field.type)
        given[name] = [*given.get(name, []), value] if many else value
    try:
        return msgspec.convert(given, kind, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise PluginError(f"plugin {plugin}: {_one_line(error)}") from error


def _pairs(plugin: str, arguments: str) -> list[tuple[str, str | None]]:
    """Names and what they are set to; None where there is only a name."""
    pairs: list[tuple[str, str | None]] = []
    for part in filter(None, (part.strip() for part in arguments.split(","))):
        cut = min((at for at in (part.find(":"), part.find("=")) if at >= 0), default=len(part))
        name, value = part[:cut].strip().replace("-", "_"), part[cut + 1 :].strip()
        if not name:
            raise PluginError(f"plugin {plugin}: {part!r} has no option's name: write key:value")
        pairs.append((name, _WORDS.get(value, value) if cut < len(part) else None))
    return pairs


def _value_of(plugin: str, name: str, said: str | None, kind: Any) -> str:
    if said is None and _FLAG not in _allowed(kind):
        raise PluginError(f"plugin {plugin}: option {name} is given no value: it is {_allowed(kind)}")
    return _ON if said is None else said


def _takes_many(kind: Any) -> bool:
    info = inspect.type_info(kind)
    return isinstance(info.type if isinstance(info, inspect.Metadata) else info, _MANY)


def _checked(plugin: str, name: str, value: Any, kind: Any) -> None:
    try:
        msgspec.convert(value, kind, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        shown = value[0] if isinstance(value, list) else value
        said = _one_line(error).partition(" - at ")[0]
        must = f"it must be {_allowed(kind)} ({said})"
        raise PluginError(f"plugin {plugin}: option {name} is {shown!r}: {must}") from None


def options_of(kind: type[msgspec.Struct]) -> list[Option]:
    """The options of a plugin, for people."""
    return [
        Option(field.encode_name, _allowed(field.type), _default(field), _description(field.type))
        for field in msgspec.structs.fields(kind)
    ]


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default is not msgspec.NODEFAULT:
        return value(field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return value(field.default_factory())
    return "required"


def value(of: Any) -> str:
    """An option's value as people read it."""
    if of is None or of in ("", (), []):
        return "none"
    if isinstance(of, bool):
        return "on" if of else "off"
    return ",".join(map(str, of)) if isinstance(of, tuple | list) else str(of)


def _description(kind: Any) -> str:
    found = inspect.type_info(kind)
    extra = found.extra_json_schema if isinstance(found, inspect.Metadata) else None
    return str((extra or {}).get("description", ""))


def _allowed(kind: Any) -> str:
    return _allowed_info(inspect.type_info(kind))


def _allowed_info(info: inspect.Type) -> str:
    match info:
        case inspect.Metadata(type=inner):
            return _allowed_info(inner)
        case inspect.BoolType():
            return _FLAG
        case inspect.IntType():
            return f"a whole number{_bounds(info)}"
        case inspect.FloatType():
            return f"a number{_bounds(info)}"
        case inspect.StrType():
            return "text"
        case inspect.LiteralType(values=values):
            return f"one of {', '.join(map(str, values))}"
        case inspect.UnionType(types=types):
            return " or ".join(_allowed_info(each) for each in types if not isinstance(each, inspect.NoneType))
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            return f"{_allowed_info(item)} (repeatable)"
    return type(info).__name__.removesuffix("Type").lower()


def _bounds(info: inspect.IntType | inspect.FloatType) -> str:
    parts = [
        f"{word} {limit:g}" if isinstance(limit, float) else f"{word} {limit}"
        for word, limit in (
            ("of at least", info.ge), ("above", info.gt), ("of at most", info.le), ("below", info.lt),
        )
        if limit is not None
    ]  # fmt: skip
    return "".join(f" {part}" if not at else f" and {part}" for at, part in enumerate(parts))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
