"""Calling what a plugin brought: whatever it does, the caller gets a value or one `PluginFailedError`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Final, Literal, TypeVar

T = TypeVar("T")

Why = Literal["raised", "too_slow", "broke_contract"]

DEADLINE_S: Final = 2.0
"""How long a hook that the engine waits for may take."""
_AGAIN_S: Final = 0.05  # a hook that swallows the interruption is interrupted again


class PluginFailedError(Exception):
    """A hook of `plugin` raised, took too long, or gave what its contract does not allow."""

    def __init__(self, plugin: str, hook: str, why: Why, message: str) -> None:
        super().__init__(f"plugin {plugin}: {hook} {message}")
        self.plugin = plugin
        self.hook = hook
        self.why: Why = why
        self.message = message


class StalledError(BaseException):
    """Raised inside a hook that is past its deadline; no plugin should catch it."""


class ContractError(ValueError):
    """What a hook returned is not what its contract allows."""


class _Alarm:
    """The process's one timer of hooks, on SIGALRM."""

    armed = False
    installed = False

    def ring(self, _signal: int, _frame: object) -> None:
        if self.armed:
            raise StalledError

    def start(self, seconds: float) -> None:
        if not self.installed:
            signal.signal(signal.SIGALRM, self.ring)
            self.installed = True
        self.armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)

    def stop(self) -> None:
        self.armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)


_alarm: Final = _Alarm()


def call_hook(plugin: str, hook: str, call: Callable[[], T], deadline_s: float | None = DEADLINE_S) -> T:
    """What `call` returns. Raises PluginFailedError instead of whatever it raises, and after `deadline_s`.

    The deadline needs the main thread, where hooks of the engine and of the screen run; it interrupts Python
    and sleeping, not a computation inside a native library. None is no deadline.
    """
    try:
        if deadline_s is None or threading.current_thread() is not threading.main_thread():
            return call()
        try:
            _alarm.start(deadline_s)
            return call()
        finally:
            _alarm.stop()
    except StalledError:
        _alarm.stop()
        raise PluginFailedError(plugin, hook, "too_slow", f"took more than {deadline_s:g} s") from None
    except ContractError as error:
        raise PluginFailedError(plugin, hook, "broke_contract", one_line(error)) from error
    except Exception as error:
        raise PluginFailedError(plugin, hook, "raised", f"raised {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """The error's type and text, of at most 200 characters."""
    text = " ".join(str(error).split())
    if isinstance(error, ContractError):
        return text[:200]
    return f"{type(error).__name__}: {text}"[:200] if text else type(error).__name__
