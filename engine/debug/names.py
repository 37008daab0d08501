"""Every name of the expression language: its type, what it needs to be known, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto
from typing import Final

from engine.debug.values import Type
from engine.model.stage_names import FIRST_STAGES, LAST_STAGES, LAYER_STAGES


class Needs(Flag):
    """What must be known before a value is."""

    NOTHING = 0
    STATE = auto()  # the bookkeeping: known at every moment
    REQUEST = auto()  # a request that is looked at
    TOKEN = auto()  # a token that was chosen
    STAGE = auto()  # tensors of the forward pass


@dataclass(frozen=True, slots=True)
class NameSpec:
    """`form` is the name as it is written, capitals standing for an argument."""

    form: str
    type: Type
    needs: Needs
    says: str


def _specs(type_: Type, needs: Needs, **says: str) -> list[NameSpec]:
    return [NameSpec(name.replace("__", "."), type_, needs, text) for name, text in says.items()]


STEP: Final = (
    *_specs(
        Type.NUMBER, Needs.STATE,
        step="the step that is planned or was committed last",
        branch="the branch of history, 0 until somebody rewinds",
        tokens="tokens that the step computes, over all requests",
        batch="requests that the step computes something for",
        queue__waiting="requests that wait to be admitted for the first time, or again after a failed step",
        queue__running="requests that prefill or decode",
        queue__preempted="requests that gave up their blocks and wait to come back",
        kv__used="KV blocks in the table of at least one request",
        kv__free="KV blocks that hold nothing",
        kv__cached="KV blocks that no request holds, kept for a later prefix hit",
        kv__total="KV blocks of the pool",
        hit_rate="prompt tokens found in the cache, of those looked up since the start; missing before the first",
        accept_rate="draft tokens accepted, of those verified since the start; missing before the first",
    ),
)  # fmt: skip

REQUEST: Final = (
    NameSpec("req", Type.REQUEST, Needs.REQUEST, "the id of the request looked at, such as 3 or 3.1"),
)

TOKEN: Final = (
    *_specs(
        Type.NUMBER, Needs.TOKEN,
        pos="the position of the token, in prompt and output, from 0",
        token="its id",
        entropy="of the distribution before the sampler's stages, in nats",
        varentropy="variance of the surprise under that distribution, in nats squared",
        prob="the probability with which it was chosen, after all stages",
        logprob="the logarithm of `prob`",
        raw_logprob="the logarithm of its probability before the sampler's stages",
        rank="its place in the order of raw logits, from 1",
        margin="distance of the two largest logits after the stages; infinite for a single candidate",
        draw="the uniform number that chose it; missing when it was chosen greedily",
    ),
    NameSpec("text", Type.TEXT, Needs.TOKEN, "its text"),
    NameSpec("near_tie", Type.BOOL, Needs.TOKEN, "whether rounding in the last bits could have chosen another"),
)  # fmt: skip

CANDIDATE: Final = (
    NameSpec("rank(TOKEN)", Type.NUMBER, Needs.TOKEN, "the place of another token in the order of raw logits"),
    NameSpec("prob(TOKEN)", Type.NUMBER, Needs.TOKEN, "its probability after all stages, 0 where one removed it"),
    NameSpec("logit(TOKEN)", Type.NUMBER, Needs.TOKEN, "its raw logit"),
)

STATISTICS: Final = {
    "rms": "root of the mean square",
    "mean": "mean",
    "max": "largest value",
    "min": "smallest value",
    "norm": "Euclidean length of all values",
    "nan": "how many values are not a number",
}

STAGES: Final = (
    NameSpec(
        "layer(LAYER).STAGE.STATISTIC", Type.NUMBER, Needs.STAGE | Needs.REQUEST,
        "a statistic of a stage of a layer, over the rows of the request in this pass",
    ),
    NameSpec(
        "STAGE.STATISTIC", Type.NUMBER, Needs.STAGE | Needs.REQUEST, "the same for a stage outside the layers"
    ),
    NameSpec(
        "any_nan", Type.BOOL, Needs.STAGE | Needs.REQUEST,
        "whether any stage of the pass, up to now, has a value of the request that is not a number",
    ),
)  # fmt: skip

BLOCK: Final = {
    "state": (Type.TEXT, "free, cached or owned"),
    "refs": (Type.NUMBER, "block tables that hold it"),
    "writer": (Type.REQUEST, "the request that computed it; missing while it is free"),
    "fill": (Type.NUMBER, "slots whose KV is valid"),
    "hits": (Type.NUMBER, "prefix hits since it was allocated"),
}

OF_REQUEST: Final = {
    "state": (Type.TEXT, "WAITING, PREFILLING, RUNNING, PREEMPTED or FINISHED; missing before it arrives"),
    "pos": (Type.NUMBER, "tokens so far, which is the position of the next one; missing when it is finished"),
    "computed": (Type.NUMBER, "positions whose KV is in its blocks; missing when it is finished"),
    "blocks": (Type.NUMBER, "blocks in its table; missing when it is finished"),
    "cached": (Type.NUMBER, "positions it took from the cache when it was admitted last; missing when finished"),
}

OBJECTS: Final = (
    *(
        NameSpec(f"block(BLOCK).{name}", type_, Needs.STATE, says)
        for name, (type_, says) in BLOCK.items()
    ),
    *(
        NameSpec(f"request(REQUEST).{name}", type_, Needs.STATE, says)
        for name, (type_, says) in OF_REQUEST.items()
    ),
    *(
        NameSpec(f"req.{name}", type_, Needs.STATE | Needs.REQUEST, f"the same of the request looked at: {says}")
        for name, (type_, says) in OF_REQUEST.items()
    ),
)  # fmt: skip

SPECS: Final = (*STEP, *REQUEST, *TOKEN, *CANDIDATE, *STAGES, *OBJECTS)
"""Everything there is; `docs/expressions.md` has all of it."""

SIMPLE: Final = {spec.form: spec for spec in (*STEP, *REQUEST, *TOKEN)}
CANDIDATES: Final = ("rank", "prob", "logit")
OUTSIDE_STAGES: Final = (*FIRST_STAGES, *LAST_STAGES)
ALIASES: Final = {"resid": "resid_post"}
IN_LAYER: Final = (*LAYER_STAGES, *ALIASES)
