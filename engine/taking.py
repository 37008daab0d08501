"""What becomes of the tokens that a step chose: where drafts were accepted, of several for one request.

A request's accepted drafts are said before their positions count as computed, and the last token after it, which
is never computed. So `computed <= num_tokens` holds at every event, and full blocks are cached with their tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine import events as ev
from engine.acceptance import Checked
from engine.books import Emit
from engine.capture import Taken
from engine.execution import NO_DETAILS, Choice, DetailsOf, Job, Outcome, PickedDetails
from engine.forced import Forced
from engine.plug_guard import PluginFailedError
from engine.stopping import Stop


@dataclass(frozen=True, slots=True)
class Answer:
    """What a step chose for `choice`: the `tokens` that its output takes, and why it ends with the last of them.

    `position` is that of the first of them, `at` where they begin among the entries of the outcome.
    """

    choice: Choice
    position: int
    at: int
    tokens: Sequence[int]
    stop: Stop | None
    checked: Checked | None

    @property
    def last(self) -> int:
        return len(self.tokens) - 1


class Taking(Forced):
    """Takes chosen tokens into the books."""

    def _answers(self, job: Job, outcome: Outcome) -> list[Answer]:
        """The answers to the choices of `job`, in order, each cut where its output ends."""
        answers: list[Answer] = []
        at = 0
        for choice in job.choices:
            checked = outcome.checked.get(choice.request)
            count = 1 if checked is None else len(checked.tokens)
            request = self.state.requests[choice.request]
            taken, stop = self._cut_at_end(request, outcome.tokens[at : at + count])
            answers.append(Answer(choice, request.num_tokens, at, outcome.tokens[at : at + taken], stop, checked))
            at += count
        assert at == len(outcome.tokens)
        return answers

    def _accept(self, answers: Iterable[Answer], outcome: Outcome, emit: Emit) -> None:
        """Say how drafts were judged; all but the last of the tokens that came of it enter the books."""
        for answer in answers:
            if answer.checked is None:
                continue
            self._say_processing(answer, outcome, range(answer.last), emit)
            verdicts, residual, bonus = answer.checked.first(len(answer.tokens))
            request, position = answer.choice.request, answer.position
            emit(
                self._event(
                    ev.Verified,
                    request=request,
                    position=position,
                    drafts=verdicts,
                    residual=residual,
                    bonus=bonus,
                )
            )
            for index in range(answer.last):
                self._take(answer, index, outcome, emit)

    def _true_batch(self, batch: Sequence[ev.Work], answers: Iterable[Answer]) -> tuple[ev.Work, ...]:
        """`batch` without the positions of drafts that are no tokens."""
        true = {answer.choice.request: len(answer.tokens) for answer in answers if answer.checked is not None}
        return tuple(
            ev.Work(work.request, work.phase, work.start, true[work.request]) if work.request in true else work
            for work in batch
        )

    def _give_back(self, answers: Iterable[Answer], emit: Emit) -> None:
        """Blocks that nothing was computed in but rejected drafts are free again."""
        for answer in answers:
            if answer.checked is None:
                continue
            request = self.state.requests[answer.choice.request]
            needed = -(-request.computed // self.state.blocks.block_size)
            if blocks := tuple(request.table[needed:]):
                emit(self._event(ev.GivenBack, request=request.id, index=needed, blocks=blocks))

    def _take_last(self, answers: Sequence[Answer], outcome: Outcome, emit: Emit) -> None:
        """Each request's last token, and its end where that was it."""
        for answer in answers:
            self._say_processing(answer, outcome, (answer.last,), emit)
            self._say_failures(answer, outcome, emit)
        for answer in answers:
            self._take(answer, answer.last, outcome, emit)
            if answer.stop is not None:
                self._end(self.state.requests[answer.choice.request], answer.stop, emit)

    def _take(self, answer: Answer, index: int, outcome: Outcome, emit: Emit) -> None:
        request, position = answer.choice.request, self.state.requests[answer.choice.request].num_tokens
        token, draw = answer.tokens[index], outcome.draws[answer.at + index]
        emit(self._event(ev.Token, request=request, position=position, token=token, draw=draw))

    def _say_processing(self, answer: Answer, outcome: Outcome, indexes: Iterable[int], emit: Emit) -> None:
        """Say what logits processors did before these of its tokens were chosen."""
        for index in indexes if outcome.processing else ():
            each = outcome.processing[answer.at + index]
            where = {"request": answer.choice.request, "position": answer.position + index}
            for done in each.done:
                emit(self._event(ev.LogitsChanged, **where, plugin=done.plugin, change=done.change))
            for failure in each.failed:
                emit(self._event(ev.PluginDisabled, **where | self._disabled(failure)))

    def _say_failures(self, answer: Answer, outcome: Outcome, emit: Emit) -> None:
        """Say that a logits processor failed at a token that came after the end of the output."""
        chosen = len(answer.tokens) if answer.checked is None else len(answer.checked.tokens)
        for index in range(len(answer.tokens), chosen) if outcome.processing else ():
            where = {"request": answer.choice.request, "position": answer.position + index}
            for failure in outcome.processing[answer.at + index].failed:
                emit(self._event(ev.PluginDisabled, **where | self._disabled(failure)))

    def _disabled(self, failure: PluginFailedError) -> dict[str, object]:
        plugin = failure.plugin
        return {
            "plugin": plugin, "hook": failure.hook, "why": failure.why, "message": failure.message,
            "policy": self.plugs.policy_after(plugin, self.state.policy),
            "eviction": self.plugs.eviction_after(plugin, self.state.evictable.policy.name),
        }  # fmt: skip


def details_of(answers: Sequence[Answer], outcome: Outcome) -> DetailsOf:
    """The details of an outcome in the order in which its tokens are said, without those that are not."""
    if not outcome.checked or outcome.details is NO_DETAILS:
        return outcome.details
    accepted = [answer.at + index for answer in answers for index in range(answer.last)]
    return PickedDetails(outcome.details, [*accepted, *(answer.at + answer.last for answer in answers)])


def captured_of(answers: Sequence[Answer], captured: Sequence[Taken]) -> Sequence[Taken]:
    """What was captured of rows that chose a token."""
    ends = {answer.choice.request: answer.position + answer.last for answer in answers}
    return [taken for taken in captured if taken.position < ends[taken.request]]
