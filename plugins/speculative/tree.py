"""Several candidates for one position, verified together (Miao et al. 2024, "SpecInfer").

From a drafting model: its likeliest line, and beside each token of it the next likeliest. From earlier text: the
different continuations of the last tokens. None is drawn, so q is 1 and siblings are tried in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from engine.drafting import Draft
from engine.drafts import MOST_DRAFTS, DraftRequest
from plugins.speculative.draft import BUNDLED, folder_of
from plugins.speculative.lengths import Adaptive, Tokens, length
from plugins.speculative.ngram import continuations

if TYPE_CHECKING:
    from plugins.speculative.draft_model import DraftModel


class Options(msgspec.Struct, frozen=True):
    """What `--plugin tree=source:ngram,tokens:4,width:3` sets."""

    source: Annotated[
        Literal["draft", "ngram"],
        msgspec.Meta(description="Where candidates come from: draft (a model) or ngram."),
    ] = "draft"
    model: Annotated[str, msgspec.Meta(description="With draft, folder or bundled name of that model.")] = BUNDLED
    tokens: Tokens = 4
    width: Annotated[int, msgspec.Meta(ge=2, le=8, description="Candidates for a position.")] = 2
    max_ngram: Annotated[int, msgspec.Meta(ge=1, le=64, description="With ngram, the longest match.")] = 4
    adaptive: Adaptive = False


class TreeDrafter:
    """Drafts trees: `tokens` deep, `width` candidates wide."""

    name = "tree"
    deadline_s = None  # a pass of the model takes as long as it takes

    def __init__(self, folder: Path | None, options: Options) -> None:
        self._folder = folder
        self._options = options
        self._model: DraftModel | None = None

    def attach(self, executor: Any, folder: Path) -> None:
        """Load the drafting model, where there is one, to draft for that in `folder`. Raises ModelError."""
        if self._folder is not None:
            from plugins.speculative.draft_model import DraftModel

            self._model = DraftModel(self._folder, executor, folder, self._options.tokens)

    def propose_drafts(self, asked: Sequence[DraftRequest]) -> Sequence[Draft | None]:
        if self._model is None:
            return [self._from_text(each) for each in asked]
        return self._model.drafts(asked, [self._depth(each) for each in asked], self._comb)

    def _depth(self, asked: DraftRequest) -> int:
        wanted = length(asked, self._options.tokens, self._options.adaptive)
        return min(wanted, MOST_DRAFTS // self._options.width)

    def _comb(self, lane: Any, count: int, vocab_size: int) -> Any:
        from plugins.speculative.going import GoingComb

        return GoingComb(lane, count, vocab_size, width=self._options.width)

    def _from_text(self, asked: DraftRequest) -> Draft | None:
        places = continuations(asked.tokens, self._options.max_ngram, 1, self._options.width)
        if not places:
            return None
        depth = self._depth(asked)
        return merged([asked.tokens[at : at + depth] for at in places])


def merged(lines: Sequence[Sequence[int]]) -> Draft:
    """The lines as one tree, in which common beginnings are one."""
    tokens: list[int] = []
    parents: list[int] = []
    known: dict[tuple[int, int], int] = {}
    for line in lines:
        node = -1
        for token in line:
            if (node, token) not in known:
                known[node, token] = len(tokens)
                tokens.append(token)
                parents.append(node)
            node = known[node, token]
    return Draft.sure(tokens, parents)


class Tree:
    """The plugin."""

    name = "tree"
    version = "1"
    description = (
        "Drafts several candidates for each position, verified in one pass: speculative decoding with trees."
    )
    options = Options

    def provide(self, options: Options) -> Sequence[object]:
        return (TreeDrafter(folder_of(options.model) if options.source == "draft" else None, options),)
