"""`workbench plugins new NAME`: a package that works, with a test, to begin from."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Final

from plugins.errors import PluginError
from plugins.finding import installed

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")

_PROJECT: Final = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "workbench-plugin-{name}"
version = "0.1.0"
description = "A plugin of the workbench: {name}"
requires-python = ">=3.11"
dependencies = ["llm-workbench"]

[project.entry-points."workbench.plugins"]
{name} = "{module}:Plugin"

[tool.setuptools]
py-modules = ["{module}"]
"""

_MODULE: Final = '''\
"""A plugin of the workbench: it keeps a model from repeating itself word for word.

A token that would repeat the last `length` tokens, as they stand earlier in the request, loses `penalty` of its
logit. See docs/plugins.md of the workbench for everything else a plugin can bring.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from plugins.contract import Changed, LogitsRow, Seen


class Options(msgspec.Struct, frozen=True):
    """What `--plugin {name}=length:3,penalty:2.5` sets."""

    length: Annotated[int, msgspec.Meta(ge=1, le=64, description="Tokens in a row that count as a repeat.")] = 3
    penalty: Annotated[float, msgspec.Meta(gt=0, description="What is taken from the logit.")] = 5.0


class Unrepeated:
    """A logits processor: called before each token is chosen."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def process_logits(self, row: LogitsRow) -> Changed | None:
        would = repeats(row.tokens, self.options.length)
        return Changed.to({{token: float(row.logits[token]) - self.options.penalty for token in would}})


class Repeats:
    """A panel: which tokens would repeat something after the selected request's last one."""

    name = "{name}"
    title = "Repeats"
    question = "What would repeat itself?"

    def __init__(self, options: Options) -> None:
        self.options = options

    def panel_lines(self, seen: Seen, width: int, height: int) -> Sequence[str]:
        would = repeats(seen.tokens, self.options.length)
        if not would:
            return ["Nothing would repeat the last tokens."]
        return ["These tokens would repeat what stands earlier:", *(seen.token_text(token) for token in would)]


def repeats(tokens: Sequence[int], length: int) -> list[int]:
    """The tokens that follow the last `length` of `tokens` where those stand earlier."""
    last = list(tokens[-length:])
    if len(last) < length:
        return []
    starts = range(len(tokens) - length)
    return sorted({{tokens[at + length] for at in starts if list(tokens[at : at + length]) == last}})


class Plugin:
    """What the entry point names."""

    name = "{name}"
    version = "0.1.0"
    description = "Keeps a model from repeating itself word for word."
    options = Options

    def provide(self, options: Options) -> Sequence[object]:
        return [Unrepeated(options), Repeats(options)]
'''

_TEST: Final = '''\
"""`python -m pytest` in this folder."""

import numpy as np
from plugins.contract import LogitsRow
from plugins.testing import provided

from {module} import Plugin, repeats


def test_what_followed_before_is_a_repeat() -> None:
    assert repeats([1, 2, 3, 1, 2], 2) == [3]
    assert repeats([1, 2], 3) == []


def test_a_repeat_loses_the_penalty() -> None:
    processor, _panel = provided(Plugin(), "length:2,penalty:1.5")
    row = LogitsRow("1", 5, 2, [1, 2, 3, 1, 2], np.zeros(8, np.float32))
    change = processor.process_logits(row)
    assert change is not None
    assert (change.ids, change.values) == ((3,), (-1.5,))
'''

_README: Final = """\
# {name}

A plugin of the workbench. Try it as a file:

    workbench record --plugin {module}.py=length:2 --prompt "def f(x):"

or install it and name it:

    pip install .
    workbench plugins show {name}
    workbench --plugin {name}=length:2

Test it:

    python -m pytest
"""


def write_example(name: str, folder: Path) -> list[Path]:
    """Write a package called `name` to `folder`, which must not exist. Raises PluginError."""
    if not _NAME.fullmatch(name):
        raise PluginError(f"name is {name!r}: use small letters, digits and -, a letter first")
    module = name.replace("-", "_")
    if keyword.iskeyword(module):
        raise PluginError(f"name is {name!r}: that is a word of Python: choose another")
    if name in installed():
        raise PluginError(f"name is {name!r}: an installed plugin is called so: choose another")
    if folder.exists():
        raise PluginError(f"{folder} exists: choose another folder with -o")
    texts = {
        "pyproject.toml": _PROJECT, f"{module}.py": _MODULE, f"test_{module}.py": _TEST, "README.md": _README,
    }  # fmt: skip
    folder.mkdir(parents=True)
    for file, text in texts.items():
        (folder / file).write_text(text.format(name=name, module=module), encoding="utf-8")
    return [folder / file for file in texts]
