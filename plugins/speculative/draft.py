"""A small model drafts for the large one (Leviathan et al. 2023; Chen et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from engine.drafting import Draft
from engine.drafts import DraftRequest
from plugins.errors import PluginError
from plugins.speculative.lengths import Adaptive, Tokens, length

if TYPE_CHECKING:
    from plugins.speculative.draft_model import DraftModel

BUNDLED: Final = "tiny-python-draft"


class Options(msgspec.Struct, frozen=True):
    """What `--plugin draft=model:./small,tokens:5` sets."""

    model: Annotated[
        str, msgspec.Meta(description="Folder of the model that drafts, or a bundled one's name.")
    ] = BUNDLED
    tokens: Tokens = 4
    adaptive: Adaptive = False


class ModelDrafter:
    """Drafts with the model in `folder`, which is loaded when the engine is there. Torch is imported then."""

    name = "draft"
    deadline_s = None  # a pass of the model takes as long as it takes

    def __init__(self, folder: Path, options: Options) -> None:
        self._folder = folder
        self._options = options
        self._model: DraftModel | None = None

    def attach(self, executor: Any, folder: Path) -> None:
        """Load the model, to draft for the one in `folder`. Raises ModelError."""
        from plugins.speculative.draft_model import DraftModel

        self._model = DraftModel(self._folder, executor, folder, self._options.tokens)

    def propose_drafts(self, asked: Sequence[DraftRequest]) -> Sequence[Draft | None]:
        assert self._model is not None, "attach comes first"
        lengths = [length(each, self._options.tokens, self._options.adaptive) for each in asked]
        return self._model.drafts(asked, lengths)


def folder_of(model: str) -> Path:
    """The folder that `model` names. Raises PluginError where there is no model."""
    bundled = Path(str(files("models"))) / model
    folder = bundled if "/" not in model and (bundled / "config.json").is_file() else Path(model)
    if not (folder / "config.json").is_file():
        raise PluginError(f"plugin draft: model is {model!r}: that folder has no config.json")
    return folder


class DraftPlugin:
    """The plugin."""

    name = "draft"
    version = "1"
    description = "Drafts with a small model of the same vocabulary: speculative decoding."
    options = Options

    def provide(self, options: Options) -> Sequence[object]:
        return (ModelDrafter(folder_of(options.model), options),)
