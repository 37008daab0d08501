"""What a request's drafts came to, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engine.sanitise import display_text
from engine.wording import plural
from sessions.draft_tally import FEWEST_PLAIN, Exactness, Tally
from workbench.views.drafts_data import DraftRounds
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Line, Span

GOOD: Final[Ink] = "good"
BAD: Final[Ink] = "bad"
UNLIKELY = 0.001
"""A p-value below which chance is no explanation."""


def draft_facts(found: DraftRounds) -> list[Line]:
    """Acceptance, tokens per pass, whether the output is what plain decoding would give, and time."""
    tally = found.tally
    if not tally.verified_passes:
        return [Span(f"Nothing was drafted for request {found.request} up to here.", "dim")]
    return [*_counts(found), _exact(tally.exactness), _time(tally)]


def _counts(found: DraftRounds) -> Iterator[Line]:
    tally = found.tally
    assert tally.per_forward is not None
    yield [
        Span(f"request {found.request}  ", "strong"),
        Span(f"{plural(tally.tokens, 'token')} in {tally.passes:,} passes  "),
        Span(f"{tally.per_forward:.2f} tokens per forward", "accent"),
        Span("" if found.complete else "  reading …", "dim"),
    ]
    yield [
        Span(f"{display_text(', '.join(sorted(tally.methods)))}  ", "strong"),
        Span(f"{plural(tally.drafted, 'draft')} in {tally.verified_passes:,} of the passes  "),
        Span(f"{tally.accepted:,} accepted ({tally.accepted / tally.drafted:.0%})", GOOD),
    ]


def _time(tally: Tally) -> Line:
    saved = tally.saved
    if saved is None:
        return _no_estimate(tally.pass_ns)
    took, would = saved.took_ns / 1e6, saved.would_ns / 1e6
    word, ink = ("saved", GOOD) if would >= took else ("lost", BAD)
    plain = f"{saved.tokens:,} tokens x {saved.plain_ns / 1e6:.2f} (median of {saved.plain_steps:,} plain steps)"
    return [
        Span(f"about {abs(would - took):,.1f} ms {word}  ", ink),
        Span(f"took {took:,.1f}, plain {would:,.1f} = {plain}", "dim"),
    ]


def _no_estimate(pass_ns: tuple[float, float] | None) -> Line:
    """Too few steps of the request say what it would have taken without drafts."""
    why = f"under {FEWEST_PLAIN} plain steps to compare with"
    if pass_ns is None:
        return Span(f"no estimate of time: {why}", "dim")
    whole, before = (each / 1e6 for each in pass_ns)
    return Span(f"about {whole:.2f} ms a pass, {before:.2f} of it to draft and plan; {why}", "dim")


def _exact(found: Exactness | None) -> Line:
    if found is None:
        return Span("exact? the run recorded no candidates to check with", "dim")
    if found.greedy:
        return _greedy(found)
    said = f"the likeliest taken {found.taken:,} times in {found.tokens:,}, {found.expected:,.1f} expected"
    if found.z is None or found.p_value is None:
        return [Span("exact?  ", "strong"), Span(f"{said}: too few draws to tell", "dim")]
    wrong = found.p_value < UNLIKELY
    return [
        Span("inconsistent  " if wrong else "consistent  ", BAD if wrong else GOOD),
        Span(f"{said}: z {found.z:+.2f}, p {found.p_value:.2g}", "dim"),
    ]


def _greedy(found: Exactness) -> Line:
    wrong = found.tokens - found.taken
    if wrong:
        said = f"{wrong:,} of {found.tokens:,} tokens are not the target's likeliest"
        return [Span("not exact  ", BAD), Span(said)]
    return [Span("exact  ", GOOD), Span(f"compared: all {found.tokens:,} are the target's likeliest", "dim")]


__all__ = ["draft_facts"]
