"""Reading a JSON object from an untrusted file: every value checked where it is taken, or one clear line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.model.errors import ModelError, shown

MAX_JSON_BYTES = 64 << 20
MAX_INTEGER = 1 << 48
MAX_NUMBER = 1e30


class Fields:
    """The fields of one JSON object.

    A getter returns its default when the key is absent or null, and raises `ModelError`, naming file, key
    and value, when the value is of another kind.
    """

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self.values = values
        self.source = source

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def refuse(self, key: str, allowed: str) -> ModelError:
        return ModelError(f"{self.source}: {key} is {shown(self.values.get(key))}: {allowed}")

    def integer(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        value = self._present(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MAX_INTEGER:
            raise self.refuse(key, f"it must be a whole number of at least {least}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self._present(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_NUMBER:
            raise self.refuse(key, "it must be a number above 0")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._present(key, default)
        if not isinstance(value, bool):
            raise self.refuse(key, "it must be true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self._present(key, default)
        if not isinstance(value, str):
            raise self.refuse(key, "it must be a string")
        return value

    def token_ids(self, key: str) -> tuple[int, ...]:
        """A token id, a list of them, or nothing: always as a tuple."""
        value = self.values.get(key)
        ids = () if value is None else tuple(value) if isinstance(value, list) else (value,)
        if not all(isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in ids):
            raise self.refuse(key, "it must be a token id or a list of token ids")
        return ids

    def object(self, key: str) -> Fields:
        value = self._present(key, {})
        if not isinstance(value, dict):
            raise self.refuse(key, "it must be an object")
        return Fields(value, f"{self.source}: {key}")

    def _present(self, key: str, default: Any) -> Any:
        value = self.values.get(key)
        value = default if value is None else value
        if value is None:
            raise ModelError(f"{self.source}: {key} is missing")
        return value


def read_json(path: Path) -> Fields:
    """The JSON object in `path`; `ModelError` when it cannot be read, is too large or is something else."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ModelError(f"{path}: larger than {MAX_JSON_BYTES} bytes: not a file of this kind")
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path}: holds a JSON {type(values).__name__}, an object is needed")
    return Fields(values, path.name)
