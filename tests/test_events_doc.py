"""Events keep their form: one golden line of each, and a document that names every field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from engine import events as ev
from engine import reasons

ROOT = Path(__file__).parent.parent
GOLDEN = (ROOT / "tests" / "golden" / "events.jsonl").read_bytes().splitlines()
DOCUMENT = (ROOT / "docs" / "events.md").read_text()
EVENTS: tuple[type[ev.Event], ...] = get_args(ev.AnyEvent)
REASONS = (
    *get_args(reasons.WaitReason),
    *get_args(reasons.MatchEnd),
    *get_args(reasons.PreemptReason),
    *get_args(reasons.DropReason),
)


def name_of(kind: type[msgspec.Struct]) -> str:
    return str(kind.__struct_config__.tag)


def codes_in(value: object) -> Iterator[str]:
    if isinstance(value, reasons.Reason):
        yield name_of(type(value))
    elif isinstance(value, ev.Event):
        for field in value.__struct_fields__:
            yield from codes_in(getattr(value, field))


@pytest.mark.parametrize("line", GOLDEN)
def test_golden_events_come_back_to_the_byte(line) -> None:
    event = ev.decode(line)
    assert ev.encode(event) == line
    assert ev.type_of(event) == json.loads(line)["type"]


def test_the_golden_file_holds_one_of_each_event_and_reason() -> None:
    events = [ev.decode(line) for line in GOLDEN]
    assert {type(event) for event in events} == set(EVENTS)
    assert {code for event in events for code in codes_in(event)} == {name_of(reason) for reason in REASONS}


def section(heading: str) -> str:
    found = re.search(rf"^###? {re.escape(heading)}$(.*?)(?=^##|\Z)", DOCUMENT, re.M | re.S)
    assert found is not None, f"docs/events.md says nothing about {heading}"
    return found[1]


@pytest.mark.parametrize("kind", EVENTS, ids=name_of)
def test_every_field_of_an_event_is_documented_in_order(kind) -> None:
    text = section(f"`{name_of(kind)}`")
    own = [field for field in kind.__struct_fields__ if field not in ("branch", "step")]
    assert re.findall(r"^\| `(\w+)` \|", text, re.M) == own
    example = re.search(r"```json\n(.*)\n```", text)
    assert example is not None
    assert example[1].encode() in GOLDEN


@pytest.mark.parametrize("reason", REASONS, ids=name_of)
def test_every_number_of_a_reason_is_documented(reason) -> None:
    row = re.search(rf"^\| `{name_of(reason)}` \|.*\|(.*)\|$", DOCUMENT, re.M)
    assert row is not None
    assert re.findall(r"`(\w+)`", row[1]) == list(reason.__struct_fields__)


def test_the_document_says_which_version_it_is_about() -> None:
    assert f"Schema version {ev.SCHEMA_VERSION}." in DOCUMENT
