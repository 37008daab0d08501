"""What a logits processor did to one row of logits: few numbers, so that they can be recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MOST_IDS: Final = 1 << 16
"""Ids that one change may name: it is recorded with the token."""


class Changed(msgspec.Struct, frozen=True, omit_defaults=True):
    """Logits that differ from what the processor was given; all others are as they were.

    `values` are the new logits of `ids`, float32. `removed` can no longer be chosen. With `only`, nothing but
    `only` and `ids` can be.
    """

    ids: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    removed: tuple[int, ...] = ()
    only: tuple[int, ...] | None = None

    @classmethod
    def to(cls, values: Mapping[int, float]) -> Changed:
        """New logits by token id."""
        return cls(tuple(values), tuple(values.values()))

    @property
    def count(self) -> int:
        """How many logits it names."""
        return len(self.ids) + len(self.removed if self.only is None else self.only)

    def problem(self, vocab_size: int) -> str | None:
        """Why it cannot be carried out on a row of `vocab_size` logits, None when it can."""
        import numpy as np

        named = (*self.ids, *self.removed, *(self.only or ()))
        if len(named) > MOST_IDS:
            return f"it names {len(named)} ids: at most {MOST_IDS} can be recorded"
        if len(self.ids) != len(self.values):
            return f"it has {len(self.values)} values for {len(self.ids)} ids"
        for token in named:
            if not isinstance(token, int) or not 0 <= token < vocab_size:
                return f"it names token {token!r}: the vocabulary has {vocab_size}"
        if not np.isfinite(np.asarray(self.values, np.float32)).all():
            return "a new logit is not a finite number"
        return None

    def as_float32(self) -> Changed:
        """The same with values that float32 holds, which is what is applied and recorded."""
        import numpy as np

        rounded = tuple(np.asarray(self.values, np.float32).astype(float).tolist())
        only = None if self.only is None else tuple(self.only)
        return Changed(tuple(self.ids), rounded, tuple(self.removed), only)

    def apply(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """A changed copy of `logits` [vocab]."""
        import numpy as np

        if self.only is None:
            out = logits.copy()
        else:
            out = np.full_like(logits, -np.inf)
            kept = np.asarray(self.only, np.int64)
            out[kept] = logits[kept]
        out[np.asarray(self.ids, np.int64)] = np.asarray(self.values, np.float32)
        out[np.asarray(self.removed, np.int64)] = -np.inf
        return out


class Processed(msgspec.Struct, frozen=True):
    """What `plugin` changed of a row of logits."""

    plugin: str
    change: Changed
