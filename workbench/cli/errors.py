"""Which exceptions are a person's to mend, and the one line that tells them."""

from __future__ import annotations

from engine.params import EngineOptions, OptionError, RequestSpec, SamplingParams
from engine.sanitise import display_text

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


_SETTINGS = {
    name for kind in (EngineOptions, SamplingParams, RequestSpec) for name in kind.__struct_fields__
} | {"kv_memory", "prompt"}  # fmt: skip


class CommandError(ValueError):
    """A command that was used wrongly or cannot be carried out: what is wrong, with the value, and what to do."""


def is_bad_input(error: BaseException) -> bool:
    """Whether `error` is about what the user gave, not a mistake in this program."""
    from engine.model.errors import ModelError
    from engine.text.errors import TextError
    from engine.workload import WorkloadError
    from sessions.errors import RecorderError, SessionError

    kinds = (
        CommandError, ModelError, OptionError, OSError, RecorderError, SessionError, TextError, WorkloadError,
    )  # fmt: skip
    return isinstance(error, kinds)


def one_line(error: BaseException) -> str:
    """The error as one harmless line, settings named as the options that set them."""
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        return display_text(f"{name}{error.strerror}")
    text = " ".join(str(error).split()) or type(error).__name__
    setting, _, rest = text.partition(" ")
    if isinstance(error, OptionError) and setting in _SETTINGS:
        text = f"--{setting.replace('_', '-')} {rest}"
    return display_text(text)
