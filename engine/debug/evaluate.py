"""The value of a checked expression at a moment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from engine.debug.bound import (
    BlockFact,
    Bound,
    CandidateFact,
    Constant,
    Expression,
    Fact,
    Leaf,
    Not,
    Operation,
    RequestFact,
    Sign,
    StageFact,
)
from engine.debug.errors import LacksError
from engine.debug.moment import Chosen, Moment
from engine.debug.values import Value, arithmetic, compare, plain
from engine.ids import request_of
from engine.kv.blocks import NO_WRITER
from engine.state import Request, RequestState, State


def evaluate(expression: Expression, moment: Moment) -> Value:
    """The value of `expression` at `moment`. Raises LacksError where something of it is not known there."""
    return _value(expression.tree, moment)


def holds(condition: Expression, moment: Moment) -> bool:
    """Whether a condition is true; missing is false. Raises LacksError as `evaluate` does."""
    return plain(evaluate(condition, moment)) is True


def named_values(expression: Expression, moment: Moment) -> tuple[tuple[str, Value], ...]:
    """The value of every name in `expression`; those not known are left out."""
    found = []
    for name, leaf in expression.names:
        try:
            found.append((name, _value(leaf, moment)))
        except LacksError:
            continue
    return tuple(found)


def _value(node: Bound, moment: Moment) -> Value:
    match node:
        case Constant(value=value):
            return value
        case Sign(operand=operand):
            return arithmetic("-", 0.0, _value(operand, moment))
        case Not(operand=operand):
            return not _true(operand, moment)
        case Operation(operator="and"):
            return _true(node.left, moment) and _true(node.right, moment)
        case Operation(operator="or"):
            return _true(node.left, moment) or _true(node.right, moment)
        case Operation(operator="+" | "-" | "*" | "/" | "%"):
            return arithmetic(node.operator, _value(node.left, moment), _value(node.right, moment))
        case Operation():
            return compare(node.operator, _value(node.left, moment), _value(node.right, moment))
        case _:
            return _leaf(node, moment)


def _true(node: Bound, moment: Moment) -> bool:
    return plain(_value(node, moment)) is True


def _leaf(leaf: Leaf, moment: Moment) -> Value:
    match leaf:
        case Fact(name="any_nan"):
            return moment.stages.any_nan(_request(moment))
        case Fact(name="req"):
            return _request(moment)
        case Fact(name=name) if name in _STEP:
            return _STEP[name](moment)
        case Fact(name="text"):
            return moment.text_of(_chosen(moment, "text").token)
        case Fact(name=name):
            return _TOKEN[name](_chosen(moment, name))
        case CandidateFact(kind=kind, token=token):
            _chosen(moment, kind)
            assert moment.candidates is not None
            value: Value = getattr(moment.candidates, kind)(token)
            return value
        case StageFact(place=place, statistic=statistic):
            return moment.stages.value(place, statistic, _request(moment))
        case BlockFact(block=block, attribute=attribute):
            return _BLOCK[attribute](moment.state, block)
        case RequestFact(request=request, attribute=attribute):
            return _of_request(moment, _request(moment) if request is None else request, attribute)


def _request(moment: Moment) -> str:
    if moment.request is None:
        raise LacksError("no request is looked at: select one, or name it, as in request(3).state")
    return moment.request


def _chosen(moment: Moment, name: str) -> Chosen:
    if moment.chosen is None:
        raise LacksError(f"{name} is of a token, and none is looked at: select one, or stop where one is chosen")
    return moment.chosen


def _of_request(moment: Moment, request: str, attribute: str) -> Value:
    live = moment.state.requests.get(request)
    if live is not None:
        return _LIVE[attribute](live)
    if attribute == "state" and moment.existed(request):
        return str(RequestState.FINISHED)
    return None


def _hit_rate(moment: Moment) -> Value:
    totals = moment.state.totals
    return totals.hit_tokens / totals.looked_up_tokens if totals.looked_up_tokens else None


def _accept_rate(moment: Moment) -> Value:
    totals = moment.state.totals
    return totals.accepted_tokens / totals.drafted_tokens if totals.drafted_tokens else None


def _queued(state: State, wanted: RequestState) -> int:
    return sum(state.requests[id_].state is wanted for _, id_ in state.waiting)


_STEP: Final[Mapping[str, Callable[[Moment], Value]]] = {
    "step": lambda moment: moment.state.step,
    "branch": lambda moment: moment.state.branch,
    "tokens": lambda moment: sum(work.tokens for work in moment.batch),
    "batch": lambda moment: len(moment.batch),
    "queue.waiting": lambda moment: _queued(moment.state, RequestState.WAITING),
    "queue.running": lambda moment: len(moment.state.running),
    "queue.preempted": lambda moment: _queued(moment.state, RequestState.PREEMPTED),
    "kv.used": lambda moment: moment.state.blocks.owned,
    "kv.free": lambda moment: len(moment.state.blocks.free),
    "kv.cached": lambda moment: moment.state.blocks.cached,
    "kv.total": lambda moment: moment.state.blocks.num_blocks,
    "hit_rate": _hit_rate,
    "accept_rate": _accept_rate,
}

_TOKEN: Final[Mapping[str, Callable[[Chosen], Value]]] = {
    "pos": lambda chosen: chosen.position,
    "token": lambda chosen: chosen.token,
    "entropy": lambda chosen: chosen.entropy,
    "varentropy": lambda chosen: chosen.varentropy,
    "prob": lambda chosen: None if chosen.logprob is None else math.exp(chosen.logprob),
    "logprob": lambda chosen: chosen.logprob,
    "raw_logprob": lambda chosen: chosen.raw_logprob,
    "rank": lambda chosen: chosen.rank,
    "margin": lambda chosen: chosen.margin,
    "draw": lambda chosen: chosen.draw,
    "near_tie": lambda chosen: chosen.near_tie,
}

_BLOCK: Final[Mapping[str, Callable[[State, int], Value]]] = {
    "state": lambda state, block: str(state.blocks.state(block)),
    "refs": lambda state, block: state.blocks.ref_count[block],
    "writer": lambda state, block: _writer(state.blocks.writer[block]),
    "fill": lambda state, block: state.blocks.fill[block],
    "hits": lambda state, block: state.blocks.hits[block],
}


def _writer(code: int) -> str | None:
    return None if code == NO_WRITER else request_of(code)


_LIVE: Final[Mapping[str, Callable[[Request], Value]]] = {
    "state": lambda request: str(request.state),
    "pos": lambda request: request.num_tokens,
    "computed": lambda request: request.computed,
    "blocks": lambda request: len(request.held_blocks),
    "cached": lambda request: request.cached_tokens,
}
