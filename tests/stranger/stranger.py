"""Somebody else's plugin, which uses nothing of the workbench but its contract."""

import json
from typing import Annotated, Literal

import msgspec

from plugins.contract import Changed, Imported

Failure = Literal["none", "raise", "loop", "sleep", "contract"]


class Options(msgspec.Struct, frozen=True):
    every: Annotated[int, msgspec.Meta(ge=1, description="Which positions lose their likeliest token.")] = 4
    ban: Annotated[tuple[int, ...], msgspec.Meta(description="Tokens that are never chosen.")] = ()
    processor: Failure = "none"
    eviction: Failure = "none"
    policy: Failure = "none"
    panel: Failure = "none"
    command: Failure = "none"


def misbehave(how: Failure, wrong: object) -> object:
    """Fail as asked; returns `wrong` where the contract is to be broken."""
    if how == "raise":
        raise RuntimeError("out of sorts")
    while how == "loop":
        pass
    if how == "sleep":
        import time

        time.sleep(3600)
    return wrong if how == "contract" else None


class Second:
    """Takes the likeliest token away now and then, from position 12 on."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def process_logits(self, row):
        if row.position >= 12 and (
            wrong := misbehave(self.options.processor, Changed(ids=(1 << 30,), values=(0.0,)))
        ):
            return wrong
        if row.position % self.options.every:
            return Changed(removed=self.options.ban) if self.options.ban else None
        return Changed(removed=(int(row.logits.argmax()), *self.options.ban))


class Newest:
    """Evicts what was used last."""

    name = "newest"
    meaning = "what was used last goes first"

    def __init__(self, options: Options) -> None:
        self.options = options

    def eviction_key(self, last_use_step, node, block, blocks):
        return misbehave(self.options.eviction, "first") or (-last_use_step, node)


class Shortest:
    """Admits the shortest prompt first."""

    name = "shortest"
    compares = 64

    def __init__(self, options: Options) -> None:
        self.options = options

    def order_waiting(self, waiting):
        ordered = sorted(waiting, key=lambda each: each.tokens)
        return ordered[:-1] if misbehave(self.options.policy, True) else ordered


class Count:
    name = "count"
    title = "Counting"
    question = "How long is it?"

    def __init__(self, options: Options) -> None:
        self.options = options

    def panel_lines(self, seen, width, height):
        wrong = misbehave(self.options.panel, "text")
        return wrong or [f"step {seen.step} with {len(seen.state.requests)} live", "\x1b[31m[b]not red[/b]"]


class Shout:
    name = "shout"
    meaning = "Repeats what is said, loudly."

    def __init__(self, options: Options) -> None:
        self.options = options

    def run_command(self, arguments, seen):
        return misbehave(self.options.command, 3) or [f"{arguments.upper()}!"]


class Kinds:
    """Counts events by type; and takes back what `stranger-events` wrote."""

    name = "stranger-events"
    meaning = "header and events in one JSON document"
    suffix = ".events.json"

    def write_export(self, recording, stream, progress):
        from engine.events import encode

        events = [json.loads(encode(event)) for event in recording.events()]
        stream.write(json.dumps({"header": recording.header, "events": events}).encode())
        progress(1, 1)

    def read_import(self, path):
        from engine.events import decode

        document = json.loads(path.read_bytes())
        return Imported(document["header"], (decode(json.dumps(each)) for each in document["events"]))


class Plugin:
    name = "stranger"
    version = "2.1.0"
    description = "A bit of everything."
    options = Options

    def provide(self, options):
        kinds = (Second, Newest, Shortest, Count, Shout)
        return [*(kind(options) for kind in kinds), Kinds()]
