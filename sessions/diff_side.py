"""One session as a side of a comparison: tokens of its requests, and what is known of how they were chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from engine.sanitise import display_bytes, display_text
from sessions.diff_distributions import Distribution, Recorded
from sessions.diff_tokens import RequestLog
from sessions.reader import Session
from sessions.records import RequestRow, TokenRow

if TYPE_CHECKING:
    from sessions.diff_whole import Whole

FLOAT_BYTES = 4
WorkedOut = Callable[[str, int], "Whole | None"]
"""The whole logits that chose a request's token at a position, where somebody has worked them out again."""


def _nothing(_request: str, _position: int) -> None:
    return None


class Side:
    """A session, read for comparing. Texts it returns are harmless."""

    def __init__(self, session: Session, branch: int | None = None) -> None:
        """`branch` None is the newest, with what it continues."""
        self.session = session
        self.branch = session.branches[-1].branch if branch is None else branch
        self.worked_out: WorkedOut = _nothing
        self._log = RequestLog(session, self.branch)

    def requests(self) -> list[RequestRow]:
        """All requests in order of arrival."""
        return self.session.requests(self.branch)

    def prompt_ids(self, request: str) -> Sequence[int]:
        return self.session.prompt_ids(request, self.branch)

    def ids(self, request: str) -> Sequence[int]:
        """Prompt and output. Raises SessionError where there is no such request."""
        return self._log.tokens_of(request)

    def prompt_tokens(self, request: str) -> int:
        return self.session.request(request, self.branch).prompt_tokens

    def token(self, request: str, position: int) -> TokenRow | None:
        """The choice at `position`; None for a prompt token, or what a fork took from its parent."""
        return self.session.token(request, position, self.branch)

    def distribution(self, request: str, position: int) -> Distribution | None:
        """What the token at `position` was chosen from: whole where it was kept or worked out again, else the
        candidates."""
        whole = self.captured(request, position) or self.worked_out(request, position)
        if whole is not None:
            return whole
        details = self.session.details(request, position, self.branch)
        return Recorded(details) if details is not None else None

    def captured(self, request: str, position: int) -> Whole | None:
        """The whole logits that chose the token at `position`, where they were kept."""
        row = self.token(request, position) if "logits" in self.session.header.options.capture else None
        if row is None:
            return None
        for tensor in self.session.tensors(row.chosen_step, self.branch):
            key = tensor.key
            if (key.request, key.start, key.stage) == (request, position - 1, "logits"):
                return self._whole(self.session.tensor_bytes(tensor))
        return None

    def text(self, token: int | None) -> str:
        if token is None:
            return ""
        text = self.session.token_text(token)
        return display_bytes(self.session.token_bytes(token)) if "\ufffd" in text else display_text(text)

    def _whole(self, data: bytes) -> Whole | None:
        if len(data) != FLOAT_BYTES * self.session.header.shape.vocab_size:
            return None
        from sessions.diff_whole import Whole  # numpy, where there is something for it

        return Whole(data, "captured")
