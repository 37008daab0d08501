"""What can go wrong with a session file, each in one line a person can act on."""

from __future__ import annotations


class SessionError(ValueError):
    """A session file that cannot be read, or a question it cannot answer."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class RecorderError(RuntimeError):
    """The session file cannot be written. What was not written is kept in memory and tried again later."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
