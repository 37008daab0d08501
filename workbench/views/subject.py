"""Subject: which token of which request a view speaks of, and which choice that makes it show."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.bench import Scene


@dataclass(frozen=True, slots=True)
class Subject:
    """The selected token at this moment; without a selected position, the newest one.

    `row` is the input row on show, and `choice` the position of the token it chose: the selected token, or
    the one after it when its own row is on show. `absent` says why there is no such token now.
    """

    request: str
    position: int
    count: int  # tokens the request has at this moment
    prompt_len: int
    own_row: bool = False
    following: bool = False  # no position is selected: the newest token is
    absent: str = ""

    @property
    def row(self) -> int | None:
        row = self.position if self.own_row else self.position - 1
        return row if row >= 0 else None

    @property
    def choice(self) -> int:
        return self.position + 1 if self.own_row else self.position

    @property
    def is_prompt(self) -> bool:
        """Whether the token of the choice was given, not chosen."""
        return self.choice < self.prompt_len


def subject_of(scene: Scene) -> Subject | str:
    """What the selection means at this moment, or why it means nothing, with the key that helps."""
    request = scene.selection.request
    if request is None:
        return "No request is selected. 1 goes to the overview: choose one there, or press p to submit a prompt."
    row = scene.record.request(request)
    if row is None:
        return f"There is no request {request} in this session."
    if row.submitted_step > scene.moment.step:
        arrives, now = row.submitted_step, scene.moment.step
        return f"Request {request} arrives in step {arrives}; this is step {now}. ] goes on."
    count = scene.moment.token_count(request)
    position = scene.selection.position
    if position is None:
        return Subject(request, count - 1, count, row.prompt_tokens, following=True)
    absent = _absent(scene, request, position, count)
    return Subject(request, position, count, row.prompt_tokens, scene.selection.own_row, absent=absent)


def _absent(scene: Scene, request: str, position: int, count: int) -> str:
    if position < count:
        return ""
    row = scene.record.token_row(request, position)
    if row is None:
        return f"Request {request} has no position {position}: it has {count} tokens."
    now, chosen = scene.moment.step, row.chosen_step
    return f"Position {position} is not there yet in step {now}: it is chosen in step {chosen}. ] goes on."


__all__ = ["Subject", "subject_of"]
