"""Sampling settings as a person types them: their names, how to read them, what they are when left empty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.params import OptionError, SamplingParams

Read = Callable[[str], object]


def _strings(text: str) -> tuple[str, ...]:
    return tuple(each.replace("\\n", "\n") for each in text.split("|") if each)


@dataclass(frozen=True, slots=True)
class Field:
    """A setting of `SamplingParams`."""

    name: str
    read: Read
    default: str
    note: str

    def shown(self, params: SamplingParams) -> str:
        """Its value, as it is typed."""
        value = getattr(params, self.name)
        if self.read is _strings:
            return "|".join(each.replace("\n", "\\n") for each in value)
        return "" if value is None else str(value).removesuffix(".0")


FIELDS: Sequence[Field] = (
    Field("max_tokens", int, "64", "tokens to generate at most"),
    Field("temperature", float, "0", "0 is greedy"),
    Field("top_k", int, "0", "0 is off"),
    Field("top_p", float, "1", "1 is off"),
    Field("min_p", float, "0", "0 is off"),
    Field("repetition_penalty", float, "1", "1 is off"),
    Field("seed", int, "", "empty: the engine's"),
    Field("stop", _strings, "", r"strings, apart by |, \n is a newline"),
    Field("adapter", str, "", "a name of --adapter"),
)


def read_field(field: Field, typed: str) -> object:
    """The value of a setting. Raises OptionError, with the value and what it must be."""
    value = typed if field.read is _strings else typed.strip()
    if not value and field.name == "seed":
        return None
    try:
        return field.read(value or field.default)
    except ValueError:
        kind = "a whole number" if field.read is int else "a number"
        raise OptionError(f"{field.name} is {value!r}: it must be {kind}") from None


__all__ = ["FIELDS", "Field", "read_field"]
