"""The model drafts for itself with some of its layers left out (Zhang et al. 2024, "Draft & Verify")."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from engine.drafting import Draft
from engine.drafts import DraftRequest
from plugins.errors import PluginError
from plugins.speculative.lengths import Adaptive, Tokens, length

if TYPE_CHECKING:
    from plugins.speculative.skipping import SkippingModel

_RANGE: Final = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")


class Options(msgspec.Struct, frozen=True):
    """What `--plugin skip-layers=layers:1-4,tokens:5` sets."""

    layers: Annotated[
        str,
        msgspec.Meta(description="Layers to leave out, such as 1-4 or 1+3; empty: every second of the middle."),
    ] = ""
    tokens: Tokens = 3
    adaptive: Adaptive = False


class SkippingDrafter:
    """Drafts with the model that runs, less some layers."""

    name = "skip-layers"
    deadline_s = None  # a pass of the model takes as long as it takes

    def __init__(self, left_out: frozenset[int] | None, options: Options) -> None:
        self._left_out = left_out
        self._options = options
        self._model: SkippingModel | None = None

    def attach(self, executor: Any, folder: Path) -> None:  # noqa: ARG002
        """Take the layers of the model that runs. Raises OptionError where it does not have them."""
        from plugins.speculative.skipping import SkippingModel

        self._model = SkippingModel(executor, self._left_out, self._options.tokens)

    def propose_drafts(self, asked: Sequence[DraftRequest]) -> Sequence[Draft | None]:
        assert self._model is not None, "attach comes first"
        lengths = [length(each, self._options.tokens, self._options.adaptive) for each in asked]
        return self._model.drafts(asked, lengths)


def parse_layers(text: str) -> frozenset[int] | None:
    """The layers that `1-4` or `1+3` names, None for nothing. Raises PluginError."""
    if not text:
        return None
    found: set[int] = set()
    for part in text.split("+"):
        match = _RANGE.fullmatch(part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise PluginError(f"plugin skip-layers: layers is {text!r}: use layers such as 1-4 or 1+3")
        found.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return frozenset(found)


class SkipLayers:
    """The plugin."""

    name = "skip-layers"
    version = "1"
    description = (
        "Drafts with the model itself, some layers left out: speculative decoding without a second model."
    )
    options = Options

    def provide(self, options: Options) -> Sequence[object]:
        return (SkippingDrafter(parse_layers(options.layers), options),)
