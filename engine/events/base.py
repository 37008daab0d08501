"""What all events have: a branch, a step, and a name made from the class's."""

from __future__ import annotations

import msgspec

SCHEMA_VERSION = 3


def _tag(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


class Event(msgspec.Struct, frozen=True, tag_field="type", tag=_tag, kw_only=True):
    """Base of all events: the branch and the step it belongs to."""

    branch: int
    step: int


def type_of(event: Event) -> str:
    """The name under which `event` is stored, such as `prefix_matched`."""
    return str(event.__struct_config__.tag)


def request_in(event: Event) -> str | None:
    """The request `event` speaks of, None when it speaks of none or of several."""
    return getattr(event, "request", None)
