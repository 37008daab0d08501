"""One HTML page with everything in it: works offline, loads nothing, and is no larger than asked for."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final

import msgspec

from engine.wording.keeping import OUTPUT_MAY_DIFFER
from sessions.errors import SessionError
from sessions.export.excerpt import Excerpt
from sessions.export.output import Progress
from sessions.export.report.attention import attention_of
from sessions.export.report.choices import choices_of
from sessions.export.report.memory import memory_part
from sessions.export.report.packing import pack, script_json
from sessions.export.report.page import page
from sessions.export.report.story import requests_part
from sessions.export.report.texts import Texts
from sessions.export.report.timeline import decisions_part, steps_part

VERSION: Final = 1
DEFAULT_MB: Final = 25.0
MB: Final = 1_000_000
_PROBE_STEPS: Final = 5_000
_CAUTION: Final = 0.95
_WORTH_IT: Final = 1.2
"""Steps are gathered anew only for so many times as many."""
_FOREVER: Final = 1 << 62
_MOST_NAMED: Final = 8
_NOTES_BYTES: Final = 4_096
"""Room that is kept for saying what was left out."""


def write(excerpt: Excerpt, stream: BinaryIO, progress: Progress) -> None:
    """Write the page. Raises SessionError where not even one step fits."""
    limit = _limit(excerpt)
    progress(0, 3)
    _leave_out_tensors(excerpt)
    fitting, texts, data = _fitting(excerpt, limit - _NOTES_BYTES)
    progress(1, 3)
    room = limit - _NOTES_BYTES - len(page(_title(excerpt), data))
    choices = list(_choices(fitting, texts))
    room -= _size(texts.all) - _size(data["texts"])
    for name, parts in (("choices", choices), ("attention", attention_of(fitting))):
        data[name], room = _as_many(parts, room, fitting, name)
    data["texts"], data["about"] = texts.all, fitting.about
    progress(2, 3)
    excerpt.left_out[:] = fitting.left_out
    stream.write(page(_title(excerpt), data))
    progress(3, 3)


def _leave_out_tensors(excerpt: Excerpt) -> None:
    """Say that of what was captured the page has attention only."""
    if any(not spec.startswith("attn") for spec in excerpt.session.header.options.capture):
        why = "they can be turned into text again" if excerpt.session.redacted else "`--to safetensors` has them"
        excerpt.leave_out(f"captured logits and residuals: {why}")


def _limit(excerpt: Excerpt) -> int:
    asked = excerpt.options.max_mb
    megabytes = DEFAULT_MB if asked is None else asked
    if not 0 < megabytes <= 1_000:
        raise SessionError(f"--max-mb is {megabytes:g}: it must be above 0 and at most 1000")
    return int(megabytes * MB)


def _title(excerpt: Excerpt) -> str:
    return f"{excerpt.session.header.model_name} · {excerpt.name}"


def _fitting(excerpt: Excerpt, limit: int) -> tuple[Excerpt, Texts, dict[str, Any]]:
    """The excerpt, or the first steps of it that fit, with the parts that no report is without.

    A few steps say how much room one takes, so that no more are looked at than will fit.
    """
    empty, found = len(page(_title(excerpt), {})), None
    last = min(excerpt.last_step, excerpt.first_step + _PROBE_STEPS)
    while True:
        part = _until(excerpt, last)
        texts = Texts(part.session)
        data = _base(part, texts)
        size = len(page(_title(part), data))
        if size <= limit:
            found = part, texts, data
            if last == excerpt.last_step:
                return found
        elif last == part.first_step:
            raise SessionError(f"one step takes {size / MB:.1f} MB: raise --max-mb, or choose --requests")
        steps = last - part.first_step + 1
        guess = int(steps * max(0, limit - empty) / (size - empty) * _CAUTION)
        if found is not None and guess < (found[0].last_step - part.first_step + 1) * _WORTH_IT:
            return found
        last = min(excerpt.last_step, part.first_step + max(guess, 1) - 1, last - 1 if size > limit else _FOREVER)


def _until(excerpt: Excerpt, last: int) -> Excerpt:
    if last >= excerpt.last_step:
        return excerpt
    options = dataclasses.replace(excerpt.options, steps=f"{excerpt.first_step}:{last}")
    part = Excerpt(excerpt.session, options, excerpt.name, excerpt.source)
    part.left_out = list(excerpt.left_out)
    part.leave_out(
        f"steps {last + 1} to {excerpt.last_step}: the page would be larger than {_asked(excerpt)};"
        " choose others with --steps"
    )
    return part


def _asked(excerpt: Excerpt) -> str:
    asked = excerpt.options.max_mb
    return f"--max-mb {DEFAULT_MB if asked is None else asked:g}"


def _base(excerpt: Excerpt, texts: Texts) -> dict[str, Any]:
    """Header, requests, steps, decisions and blocks, and the texts so far: other parts add to them."""
    data: dict[str, Any] = {
        "version": VERSION,
        "about": excerpt.about,
        "header": msgspec.to_builtins(excerpt.session.header),
        "kv_policy": _kv_policy(excerpt.session.header.kv_policy),
        "requests": requests_part(excerpt, texts),
        "steps": pack(steps_part(excerpt)),
        "decisions": pack(decisions_part(excerpt, texts)),
        "memory": pack(memory_part(excerpt)),
        "choices": {},
        "attention": {},
    }
    data["texts"] = list(texts.all)
    return data


def _kv_policy(name: str) -> str:
    return f"{name}: {OUTPUT_MAY_DIFFER}" if name else ""


def _size(value: Any) -> int:
    return len(script_json(value).encode())


def _choices(excerpt: Excerpt, texts: Texts) -> Iterator[tuple[str, Any]]:
    """The packed choices of each request."""
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for request, choice in choices_of(excerpt, texts):
        found[request].append(choice)
    for row in excerpt.requests:
        if row.request in found:
            yield row.request, pack(found[row.request])


def _as_many(
    parts: Iterable[tuple[str, Any]], room: int, excerpt: Excerpt, what: str
) -> tuple[dict[str, Any], int]:
    """Those parts that there is room for, and the room that is left; the others are left out, and said so."""
    taken: dict[str, Any] = {}
    missing: list[str] = []
    for request, part in parts:
        size = _size({request: part})
        if size <= room:
            taken[request], room = part, room - size
        else:
            missing.append(request)
    if missing:
        more = f" and {len(missing) - _MOST_NAMED} more" if missing[_MOST_NAMED:] else ""
        named = ", ".join(missing[:_MOST_NAMED]) + more
        excerpt.leave_out(f"{_WHAT[what]} of requests {named}: the page would be larger than {_asked(excerpt)}")
    return taken, room


_WHAT: Final = {"choices": "candidates and sampler stages", "attention": "attention"}
