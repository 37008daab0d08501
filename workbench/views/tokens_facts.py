"""The choice of a token in a few lines: how it was made, how likely it was, how sure the model was."""

from __future__ import annotations

import math
from collections.abc import Callable

from engine.details import LOG_SOFTMAX, TokenDetails
from workbench.views.subject import Subject
from workbench.widgets.spans import Line, Span

NEAR_TIE = "near tie: rounding could have turned it"


def choice_lines(details: TokenDetails, text: Callable[[int], str]) -> list[Line]:
    """How the token was chosen, in three lines."""
    return [_verdict(details, text), _likelihood(details), _sureness(details)]


def of_beams(details: TokenDetails) -> bool:
    """Whether a beam search chose the token: from the candidates of all its beams."""
    return any(stage.stage == LOG_SOFTMAX for stage in details.stages)


def of_draft(details: TokenDetails | None) -> bool:
    """Whether its draw judged a draft, or chose in a rejected one's place: not what plain decoding draws with."""
    return details is not None and details.draw is not None and details.interval is None


def choice_notes(details: TokenDetails) -> tuple[str, ...]:
    """What to say beside the chosen candidate: the same at length, in brief, and in a letter or so."""
    if details.interval is not None:
        return f"u = {details.draw:.4f} falls here", "u falls here", "u"
    if of_draft(details):
        return "came of a draft", "drafted"
    return ("of all beams", "a beam") if of_beams(details) else ("the largest", "largest")


def choice_in_brief(details: TokenDetails) -> str:
    """The same in one short line."""
    how = "a beam" if of_beams(details) else "greedy"
    if details.draw is not None and details.interval is not None:
        low, high = details.interval
        how = f"u = {details.draw:.4f} in [{low:.4f}, {high:.4f})"
    elif details.draw is not None:
        how = f"u = {details.draw:.4f} on a draft"
    tie = "  near tie" if details.near_tie else ""
    return f"rank {details.rank}  logprob {details.raw_logprob:.2f}  entropy {details.entropy:.2f}  {how}{tie}"


def _verdict(details: TokenDetails, text: Callable[[int], str]) -> Line:
    token = Span(f"'{text(details.token)}'", "strong")
    if details.draw is not None and details.interval is None:
        return [
            token, " came of a draft: ", Span(f"u = {details.draw:.4f}", "changed"),
            Span(" decided on it (8 has the numbers)", "dim"),
        ]  # fmt: skip
    if of_beams(details):
        return [token, " is among the best continuations ", Span("of all beams", "strong"), " by summed log p"]
    if details.draw is None or details.interval is None:
        ahead = "the only candidate" if math.isinf(details.margin) else f"{details.margin:.4g} above the next"
        return [token, " has the largest logit, ", Span(ahead, "strong"), ": greedy, no draw"]
    low, high = details.interval
    return [
        token, " was drawn: ", Span(f"u = {details.draw:.4f}", "changed"),
        " is in its interval ", Span(f"[{low:.4f}, {high:.4f})", "strong"),
    ]  # fmt: skip


def _likelihood(details: TokenDetails) -> Line:
    raw, processed = details.raw_logprob, details.processed_logprob
    return [
        Span("rank ", "dim"), Span(f"{details.rank:,}", "strong"),
        Span("  logprob raw ", "dim"), f"{raw:.3f}", Span(f" (p {math.exp(raw):.3f})", "dim"),
        Span("  processed ", "dim"), f"{processed:.3f}", Span(f" (p {math.exp(processed):.3f})", "dim"),
    ]  # fmt: skip


def _sureness(details: TokenDetails) -> Line:
    line = [
        Span("entropy ", "dim"), Span(f"{details.entropy:.2f}", "strong"),
        Span(f" nats (like {math.exp(details.entropy):.1f} even choices)", "dim"),
        Span("  varentropy ", "dim"), Span(f"{details.varentropy:.2f}"),
    ]  # fmt: skip
    if not math.isinf(details.margin):
        line += [Span("  margin ", "dim"), Span(f"{details.margin:.3g}")]
    return line


def no_choice(subject: Subject) -> str:
    """Why there are no sampler stages to show, and what to do about it."""
    if subject.absent:
        return subject.absent
    if subject.choice >= subject.count:
        return (
            f"The row of token {subject.position} has chosen nothing yet: it is the newest token.\n"
            "n takes a step, o shows the row that chose it, w works out what it would choose."
        )
    if subject.is_prompt:
        some = f"Tokens from position {subject.prompt_len} on were chosen: → goes there, End to the newest."
        none = "No token of this request has been chosen yet."
        peek = "\nw works out what would have been chosen here." if subject.choice else ""
        return (
            f"Token {subject.choice} belongs to the prompt: it was given, not chosen, so no sampler stage ran.\n"
            + (some if subject.count > subject.prompt_len else none)
            + peek
        )
    return (
        f"The run recorded no candidates for token {subject.choice}, so its sampler stages cannot be shown.\n"
        "0 Events has its step and its draw."
    )


__all__ = ["NEAR_TIE", "choice_in_brief", "choice_lines", "choice_notes", "no_choice", "of_draft"]
