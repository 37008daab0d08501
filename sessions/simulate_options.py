"""`block-size=4,policy=lpm`: the options that a what-if may change, read and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from engine.params import OptionError
from engine.plugs import check_policies
from sessions.header import Header
from sessions.simulate import Setting


class WhatIfError(ValueError):
    """A what-if that cannot be asked: what is wrong with it, and what there is."""


def _number(text: str) -> int:
    if not text.lstrip("-").isdecimal():
        raise ValueError("it is not a whole number")
    return int(text)


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError("use on or off")
    return text == "on"


READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "block-size": _number,
    "kv-blocks": _number,
    "token-budget": _number,
    "max-running": _number,
    "chunked-prefill": _switch,
    "prefix-cache": _switch,
    "policy": str,
    "eviction": str,
}
"""What may be changed, and how its value is read."""


def setting_of(text: str, header: Header) -> Setting:
    """The recorded options with the changes that `text` names. Raises WhatIfError.

    With another block size and no `kv-blocks` the pool keeps its memory.
    """
    changes = _changes(text)
    try:
        options = msgspec.structs.replace(header.options, **changes)
        check_policies(options)
    except OptionError as error:
        raise WhatIfError(f"{_asked(text)}: {_as_written(str(error))}") from error
    blocks = options.kv_blocks if "kv_blocks" in changes else _same_memory(header, options.block_size)
    assert blocks is not None
    return Setting(msgspec.structs.replace(options, kv_blocks=blocks), blocks, keep_policy="policy" in changes)


def _same_memory(header: Header, block_size: int) -> int:
    return max(1, header.num_blocks * header.options.block_size // block_size)


def _changes(text: str) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = (each.strip() for each in part.partition("="))
        if name not in READERS:
            raise WhatIfError(f"{_asked(text)}: there is no option {name!r}: use one of {', '.join(READERS)}")
        if not equals or not value:
            raise WhatIfError(f"{_asked(text)}: {name} has no value: write {name}=VALUE")
        field = name.replace("-", "_")
        if field in changes:
            raise WhatIfError(f"{_asked(text)}: {name} is there twice")
        changes[field] = _read(text, name, value)
    return changes


def _read(text: str, name: str, value: str) -> Any:
    try:
        return READERS[name](value)
    except ValueError as error:
        raise WhatIfError(f"{_asked(text)}: {name} is {value!r}: {error}") from error


def _asked(text: str) -> str:
    return f"--what-if {text}"


def _as_written(message: str) -> str:
    """A message about an engine option, which it begins with, in the name that is used here."""
    field, space, rest = message.partition(" ")
    return f"{field.replace('_', '-')}{space}{rest}"
