"""Several plugins with their options in one argument: `int4=group:32,keep:down,gptq`."""

from __future__ import annotations

from collections.abc import Container, Iterator


def split_specs(text: str, names: Container[str]) -> list[str]:
    """What each of them is given: a part that is none of the `names` goes on with the options before it."""
    return [*_specs(text, names)]


def _specs(text: str, names: Container[str]) -> Iterator[str]:
    spec = ""
    for part in text.split(","):
        if spec and part.strip().partition("=")[0] not in names and "=" in spec:
            spec += f",{part}"
            continue
        if spec:
            yield spec
        spec = part.strip()
    yield spec
