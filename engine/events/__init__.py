"""What the engine says: every change of its bookkeeping, in order, as plain data.

`State.apply` folds these and nothing else changes bookkeeping. An event that happens between two steps
carries the number of the step before it. Fields, units and examples: `docs/events.md`.
"""

from __future__ import annotations

from engine.events.base import SCHEMA_VERSION, Event, request_in, type_of
from engine.events.beams import BeamsChosen, BeamsEnded, Candidate, Fate, Hypothesis, SearchEnd
from engine.events.blocks import (
    BY_HAND,
    Allocated,
    Cached,
    Copied,
    Evicted,
    Inherited,
    KeptPrivate,
    PrefixMatched,
    Split,
)
from engine.events.codec import AnyEvent, decode, decode_lines, encode, encode_lines
from engine.events.drafts import CutReason, Drafted, GivenBack, Residual, Spread, Verdict, VerdictName, Verified
from engine.events.keeping import Dropped, Loaded, Offloaded, OffloadLost, Uncached, Weighed
from engine.events.plugins import LogitsChanged, PluginDisabled
from engine.events.requests import (
    Admitted,
    Change,
    Finished,
    Forked,
    Preempted,
    Shared,
    Started,
    Submitted,
    Token,
    Waiting,
)
from engine.events.steps import (
    ABANDONED,
    Branched,
    Computed,
    Phase,
    PolicyChanged,
    Scheduled,
    StepCommitted,
    StepFailed,
    Work,
)

__all__ = [
    "ABANDONED",
    "BY_HAND",
    "SCHEMA_VERSION",
    "Admitted",
    "Allocated",
    "AnyEvent",
    "BeamsChosen",
    "BeamsEnded",
    "Branched",
    "Cached",
    "Candidate",
    "Change",
    "Computed",
    "Copied",
    "CutReason",
    "Drafted",
    "Dropped",
    "Event",
    "Evicted",
    "Fate",
    "Finished",
    "Forked",
    "GivenBack",
    "Hypothesis",
    "Inherited",
    "KeptPrivate",
    "Loaded",
    "LogitsChanged",
    "OffloadLost",
    "Offloaded",
    "Phase",
    "PluginDisabled",
    "PolicyChanged",
    "Preempted",
    "PrefixMatched",
    "Residual",
    "Scheduled",
    "SearchEnd",
    "Shared",
    "Split",
    "Spread",
    "Started",
    "StepCommitted",
    "StepFailed",
    "Submitted",
    "Token",
    "Uncached",
    "Verdict",
    "VerdictName",
    "Verified",
    "Waiting",
    "Weighed",
    "Work",
    "decode",
    "decode_lines",
    "encode",
    "encode_lines",
    "request_in",
    "type_of",
]
