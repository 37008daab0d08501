"""The life of a request, and what a run came to, in plain sentences: every number is one of the facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from engine.reasons import REFUSALS
from engine.sanitise import display_text
from engine.wording import TokenText, plural
from engine.wording.past import CHANGED, WAITED, ended, match_ended, preempted_for, waited_for
from sessions.explain_facts import (
    JUST_PREEMPTED,
    Admission,
    Behind,
    Copies,
    Ending,
    Failure,
    Life,
    Look,
    Origin,
    PhaseName,
    Preemption,
    RunTotals,
    Span,
    Wait,
    WentBack,
)

MOST_STRETCHES: Final = 8
"""So many stretches of waiting are told one by one; the others in one sum."""
MOST_PARTS: Final = 6
_UNITS: Final = (("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1_000))
_PHASES: Final[Mapping[PhaseName, str]] = {
    "queue": "in the queue",
    "prefill": "in prefill",
    "decode": "in decode",
    "preempted": "preempted",
}


def told(life: Life, text: TokenText) -> list[str]:
    """The sentences of one life, in the order in which things happened, then what they came to."""
    sentences = [_arrived(life)]
    if life.ending and life.ending.detail in REFUSALS:
        return [*sentences, f"It was {_how(life.ending)}."]
    sentences += [sentence for _, sentence in sorted(_course(life, text), key=lambda moment: moment[0])]
    sentences += _sums(life)
    sentences.append(_ended(life, life.ending) if life.ending else _goes_on(life))
    return sentences


def _arrived(life: Life) -> str:
    sample = f" (sample {life.sample + 1} of {life.samples})" if life.samples > 1 else ""
    when = f"after step {life.submitted_step}" if life.submitted_step else "before the first step"
    how = "greedy" if life.temperature == 0 else f"temperature {life.temperature:g}"
    how = how if life.beams == 1 else f"{life.beams} beams"
    priority = f", priority {life.priority}" if life.priority else ""
    adapter = f", adapter {life.adapter}" if life.adapter else ""
    prompt = plural(life.prompt_tokens, "prompt token")
    if life.fork is not None:
        prompt = f"{_forked(life.fork)}, {prompt}"
    return (
        f"Request {life.request}{sample} arrived {when}: {prompt}, at most {life.max_tokens:,} to generate,"
        f" {how}{priority}{adapter}."
    )


def _forked(fork: Origin) -> str:
    changed = f" with {' and '.join(CHANGED[change] for change in fork.changed)}" if fork.changed else ""
    return f"a fork of request {fork.parent} from position {fork.at_position} on{changed}"


def _course(life: Life, text: TokenText) -> Iterator[tuple[tuple[int, int], str]]:
    """What happened, each with its step and its place within that."""
    for preemption in life.preemptions:
        yield (preemption.step, 0), _preempted(life, preemption, text)
    stretches = _stretches(life.waits)
    for stretch in stretches[:MOST_STRETCHES]:
        yield (stretch[0].first_step, 1), _waited(stretch)
    for rest in [stretches[MOST_STRETCHES:]] if len(stretches) > MOST_STRETCHES else []:
        yield (rest[0][0].first_step, 1), _waited_on(rest)
    for admission in life.admissions:
        yield (admission.step, 2), _admitted(life, admission, text)
    if life.leader is not None:
        started = next((span.first_step for span in life.phases if span.phase == "decode"), life.submitted_step)
        yield (started, 2), f"It started on the blocks of request {life.leader}, which computed their prompt."
    for failure in life.failures:
        yield (failure.step, 3), _failed(failure)
    for went in life.went_back:
        yield (went.step, 4), f"The engine went back to the end of step {went.step}{_cost_of(went)}."


def _stretches(waits: Sequence[Wait]) -> list[list[Wait]]:
    """Waits that follow each other without a step between."""
    stretches: list[list[Wait]] = [list(waits[:1])] if waits else []
    for before, wait in pairwise(waits):
        if wait.first_step == before.last_step + 1:
            stretches[-1].append(wait)
        else:
            stretches.append([wait])
    return stretches


def steps_words(first: int, last: int) -> str:
    """`step 5`, `steps 5–8`."""
    return f"step {first}" if first == last else f"steps {first}–{last}"


def _waited(stretch: Sequence[Wait]) -> str:
    steps = sum(wait.steps for wait in stretch)
    where = steps_words(stretch[0].first_step, stretch[-1].last_step)
    if len(stretch) == 1:
        return f"It waited {plural(steps, 'step')} ({where}) {_for(stretch[0])}."
    parts = [f"{wait.steps} {_for(wait)}" for wait in stretch[:MOST_PARTS]]
    if len(stretch) > MOST_PARTS:
        parts += _by_code(stretch[MOST_PARTS:])
    return f"It waited {plural(steps, 'step')} ({where}): {', then '.join(parts)}."


def _waited_on(stretches: Sequence[Sequence[Wait]]) -> str:
    waits = [wait for stretch in stretches for wait in stretch]
    steps = sum(wait.steps for wait in waits)
    where = f"from step {waits[0].first_step} to {waits[-1].last_step}"
    return f"It waited {steps:,} more steps, {len(stretches)} times {where}: {', '.join(_by_code(waits))}."


def _by_code(waits: Sequence[Wait]) -> list[str]:
    steps: dict[str, int] = {}
    for wait in waits:
        steps[wait.code] = steps.get(wait.code, 0) + wait.steps
    return [f"{count:,} {WAITED.get(code, code)}" for code, count in steps.items()]


def _for(wait: Wait) -> str:
    if wait.code == JUST_PREEMPTED:
        return "in the step that preempted it"
    if wait.behind:
        return f"behind {_names(wait.behind, wait.more_behind)}"
    return waited_for(wait.reasons)


def _names(behind: Sequence[Behind], more: int) -> str:
    """Those who were first in line, in order; the last of many, who are not told, may be some of them again."""
    if len(behind) == 1 and not more:
        return f"request {behind[0].request}"
    others = len(behind) - MOST_PARTS + more
    shown = [f"{each.request} ({each.steps})" for each in behind[:MOST_PARTS]]
    return f"requests {', '.join(shown)}{f' and {others:,} more in turn' if others > 0 else ''}"


def _admitted(life: Life, admission: Admission, text: TokenText) -> str:
    verb = "resumed" if admission.resumed else "was admitted"
    found = f"{admission.cached_tokens} of {_found(life, admission, text)}"
    parts = [f"It {verb} in step {admission.step}: {found}."]
    if admission.smaller:
        parts.append(_smaller(admission))
    if admission.evicted_blocks:
        parts.append(_made_room(admission))
    return " ".join(parts)


def _found(life: Life, admission: Admission, text: TokenText) -> str:
    only_prompt = admission.looked_up == life.prompt_tokens and not admission.resumed
    looked_up = plural(admission.looked_up, "prompt token" if only_prompt else "token")
    if admission.end is None:
        return f"{looked_up} were in the blocks of request {admission.inherited_from}"
    why = match_ended(admission.end, admission.written_by, text)
    return f"{looked_up} matched the cache, stopped because {why}{_being_computed(admission)}"


def _being_computed(admission: Admission) -> str:
    if admission.not_yet_by is None:
        return ""
    return f" (request {admission.not_yet_by} has the same tokens there, but had not computed them yet)"


def _smaller(admission: Admission) -> str:
    """The first size that would have helped, and the one that would have helped most."""
    shown = [admission.smaller[0], *admission.smaller[1:][-1:]]
    more = [f"{s.tokens - admission.cached_tokens} more in blocks of {s.block_size}" for s in shown]
    least = "at least " if admission.smaller[0].at_least else ""
    return f"Of what the pool held then, {least}{' and '.join(more)} would have matched."


def _made_room(admission: Admission) -> str:
    need, free = plural(admission.need_blocks, "block"), admission.free_blocks
    evicted, verb = plural(admission.evicted_blocks, "block"), "was" if admission.evicted_blocks == 1 else "were"
    return (
        f"It needed {need} and {free} {'was' if free == 1 else 'were'} free, so {evicted}"
        f" ({plural(admission.evicted_tokens, 'cached token')}) {verb} evicted."
    )


def _preempted(life: Life, preemption: Preemption, text: TokenText) -> str:
    cause = preempted_for(preemption.reason, life.request, text)
    gave = (
        f"It gave up {plural(preemption.released_blocks, 'block')} with the KV of"
        f" {plural(preemption.computed_tokens, 'token')}"
    )
    because = f"because {cause}{_instead(preemption)}"
    return f"It was preempted in step {preemption.step} {because}. {gave}{_lost(preemption)}."


def _instead(preemption: Preemption) -> str:
    if not preemption.others:
        return ""
    older = [other.request for other in preemption.others if other.kept_by == "age"]
    higher = [other.request for other in preemption.others if other.kept_by == "priority"]
    rest = [other.request for other in preemption.others if other.kept_by is None]
    parts = [_requests(rest)] if rest else []
    if older:
        parts.append(f"{_requests(older)}, which {'is' if len(older) == 1 else 'are'} older")
    if higher:
        parts.append(f"{_requests(higher)}, which {'has' if len(higher) == 1 else 'have'} a higher priority")
    return f"; it went instead of {', and of '.join(parts)}"


def _requests(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - MOST_PARTS} more" if len(ids) > MOST_PARTS else ""
    return f"request{'s' if len(ids) > 1 else ''} {', '.join(ids[:MOST_PARTS])}{more}"


def _lost(preemption: Preemption) -> str:
    if preemption.lost_tokens is None:
        return ", and did not resume"
    if preemption.lost_tokens == 0:
        return f"; all of it was still cached when it resumed in step {preemption.resumed_step}"
    if preemption.lost_tokens == preemption.computed_tokens:
        return f"; none of it was still cached when it resumed in step {preemption.resumed_step}"
    verb = "was" if preemption.lost_tokens == 1 else "were"
    return f"; {preemption.lost_tokens} of them {verb} gone when it resumed in step {preemption.resumed_step}"


def _failed(failure: Failure) -> str:
    return f"Step {failure.step} failed with it in the batch, and was rolled back: {display_text(failure.error)}."


def _cost_of(went: WentBack) -> str:
    """What going back took."""
    if went.replayed_steps:
        return f", running {plural(went.replayed_steps, 'step')} again for it"
    if went.recomputed_tokens:
        return f", with the KV of {plural(went.recomputed_tokens, 'token')}, of any request, to compute again"
    return ", with all its KV still there"


def _sums(life: Life) -> Iterator[str]:
    if life.copies.blocks:
        yield _copied(life.copies)
    interruptions = len(life.preemptions) + len(life.failures)
    if interruptions:
        count = plural(life.recomputed_tokens, "token") if life.recomputed_tokens else "No token"
        verb = "was" if life.recomputed_tokens <= 1 else "were"
        yield f"{count} {verb} computed {'twice' if interruptions == 1 else 'again'}."
    if life.drafted_tokens:
        yield f"It accepted {life.accepted_tokens:,} of {plural(life.drafted_tokens, 'drafted token')}."
    if life.phases:
        yield _took(life)


def _copied(copies: Copies) -> str:
    verb = "was" if copies.blocks == 1 else "were"
    blocks, tokens = plural(copies.blocks, "shared block"), plural(copies.tokens, "token")
    return f"{blocks} ({tokens}) {verb} copied on write."


def _took(life: Life) -> str:
    parts = [_phase(name, [span for span in life.phases if span.phase == name]) for name in _PHASES]
    whole = "" if life.wall_ns is None else f"; {time_words(life.wall_ns)} from its first step to its last"
    inside = (
        f", {time_words(life.busy_ns)} of that inside steps" if 0 < life.busy_ns < (life.wall_ns or 0) else ""
    )
    return f"It spent {', '.join(filter(None, parts))}{whole}{inside}."


def _phase(name: PhaseName, spans: Sequence[Span]) -> str:
    if not spans:
        return ""
    known = [span.wall_ns for span in spans if span.wall_ns is not None]
    time = f" ({time_words(sum(known))})" if len(known) == len(spans) else ""
    return f"{plural(sum(span.steps for span in spans), 'step')} {_PHASES[name]}{time}"


def time_words(ns: int) -> str:
    """A duration with three digits that count: `12.4 ms`, `3.10 s`, `95,204 s`."""
    unit, size = next(((unit, size) for unit, size in _UNITS if ns >= size), _UNITS[-1])
    value = ns / size
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f} {unit}"


def _ended(life: Life, ending: Ending) -> str:
    tokens = plural(life.output_tokens, "token")
    when = f"{'after' if ending.detail == 'aborted' else 'in'} step {ending.step}"
    return f"It ended {when} ({ending.reason}) with {tokens}, {_how(ending)}."


def _how(ending: Ending) -> str:
    return ended(ending.detail, ending.need, ending.limit, ending.message)


def _goes_on(life: Life) -> str:
    return f"It has not ended: {life.output_tokens:,} of at most {life.max_tokens:,} tokens are generated."


def told_run(totals: RunTotals) -> list[str]:
    """What the run came to."""
    ends = ", ".join(f"{count:,} {reason}" for reason, count in totals.finished.items())
    failed = f", {totals.failed_steps} of them failed" if totals.failed_steps else ""
    steps = plural(totals.steps + totals.failed_steps, "step")
    said = [
        f"{plural(totals.requests, 'request')} ({ends}) in {steps}{failed}.",
        _looked(totals.first_look, totals.resumed_look),
        _all_waits(totals.waited_steps),
        f"{plural(totals.preemptions, 'preemption')}; {totals.recomputed_tokens:,} of"
        f" {plural(totals.computed_tokens, 'computed token')} had been computed before.",
        f"{plural(totals.evicted_blocks, 'block')} evicted, {totals.copied_blocks:,} copied on write; at most"
        f" {totals.peak_blocks:,} of {totals.num_blocks:,} in use at once.",
    ]
    return [*said, _went_back(totals.went_back)] if totals.went_back else said


def _went_back(times: Sequence[WentBack]) -> str:
    how_often = "once" if len(times) == 1 else f"{len(times):,} times"
    tokens = plural(sum(went.recomputed_tokens for went in times), "token")
    steps = plural(sum(went.replayed_steps for went in times), "step")
    return f"The engine went back {how_often}: {tokens} computed again and {steps} run again for it."


def rate_words(look: Look) -> str:
    """`16 of 96 tokens (16.7%)`."""
    share = "" if look.rate is None else f" ({look.rate:.1%})"
    return f"{look.hit_tokens:,} of {plural(look.looked_up_tokens, 'token')}{share}"


def _looked(first: Look, resumed: Look) -> str:
    again = f"; of what resumed, {rate_words(resumed)}" if resumed.looked_up_tokens else ""
    return f"The prefix cache held {rate_words(first)} of what was admitted{again}."


def _all_waits(steps: dict[str, int]) -> str:
    if not steps:
        return "No request waited."
    parts = [f"{count:,} {WAITED.get(code, code)}" for code, count in sorted(steps.items(), key=lambda x: -x[1])]
    return f"Requests waited {plural(sum(steps.values()), 'step')} together: {', '.join(parts)}."


__all__ = ["rate_words", "steps_words", "time_words", "told", "told_run"]
