"""Checks the expressions of a command before anything is carried out."""

from __future__ import annotations

from engine.debug import commands as do
from engine.debug.checker import Known, check, check_condition, stage_place
from engine.debug.commands import Source
from engine.debug.setting import checked


def verify(command: do.Command, known: Known) -> None:
    """Raise ExpressionError where an expression of `command` is none, or speaks of what is not there."""
    conditions, values, places = _sources(command)
    for source in conditions:
        checked(check_condition, source, known)
    for source in values:
        checked(check, source, known)
    for source in places:
        checked(stage_place, source, known)


def _sources(command: do.Command) -> tuple[list[Source], list[Source], list[Source]]:
    """The conditions, the values and the places in a command."""
    match command:
        case do.Break(condition=condition, place=place) | do.Until(condition=condition, place=place):
            return _given(condition), [], _given(place)
        case do.Condition(condition=condition) | do.Assert(condition=condition):
            return _given(condition), [], []
        case do.Watch(expression=expression) | do.Print(expression=expression) | do.Last(expression=expression):
            return [], [expression], []
        case do.Examine(place=place):
            return [], [], [place]
    return [], [], []


def _given(source: Source | None) -> list[Source]:
    return [] if source is None else [source]
