"""The expression language: what it reads it can write, what it refuses it refuses in one line, and its values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.debug.checker import Known, check, check_condition, stage_place
from engine.debug.errors import DebugError, ExpressionError, LacksError
from engine.debug.evaluate import evaluate, holds
from engine.debug.moment import Chosen, Moment
from engine.debug.names import SIMPLE, SPECS, Needs
from engine.debug.parser import RESERVED, parse
from engine.debug.seen_stages import SeenStages
from engine.debug.syntax import LEVELS, Binary, Name, Node, Number, Part, Text, Truth, Unary, show
from engine.debug.values import Beyond, Type, Value, compare, show_value
from tests.scripted import scripted_engine, spec

WORDS = {" Paris": [7], " Par is": [3, 4]}
KNOWN = Known(layers=4, blocks=32, vocab_size=50, encode=lambda text: WORDS.get(text, [1] * len(text)))

names = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True).filter(lambda name: name not in RESERVED)
numbers = st.builds(
    Number,
    st.integers(0, 10**9).map(str) | st.floats(0, 1e9, allow_nan=False).map(repr) | st.just("3.10"),
)
literals = numbers | st.builds(Text, st.text(max_size=6))
parts = st.builds(Part, names, st.none() | literals)
atoms = literals | st.builds(Truth, st.booleans()) | st.builds(
    Name, st.lists(parts, min_size=1, max_size=3).map(tuple)
)  # fmt: skip


def compound(nodes: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.builds(Binary, st.sampled_from(sorted(LEVELS)), nodes, nodes) | st.builds(
        Unary, st.sampled_from(["-", "not"]), nodes
    )


trees = st.recursive(atoms, compound, max_leaves=20)


@settings(max_examples=400, deadline=None)
@given(trees)
def test_a_tree_is_read_from_what_it_is_written_as(tree: Node) -> None:
    assert parse(show(tree)) == tree


@settings(max_examples=600, deadline=None)
@given(st.text(max_size=40) | st.text(alphabet="()\"'.,=<>!&|+-*/% nota1e9\\u", max_size=60))
def test_nonsense_is_refused_with_a_column_and_nothing_worse(source: str) -> None:
    refused: ExpressionError | None = None
    try:
        check(source, KNOWN)
    except ExpressionError as error:
        refused = error
    assert refused is None or ("\n" not in str(refused) and 1 <= refused.column <= len(source) + 1)


@pytest.mark.parametrize(
    "source", ["(" * 500, "-" * 500, "not " * 400, "1+" * 900 + "1", "1" * 3000, "a" + ".a" * 900]
)
def test_what_would_nest_too_deep_is_refused(source: str) -> None:
    with pytest.raises(ExpressionError):
        check(source, KNOWN)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("entroy > 3", "column 1: there is no name 'entroy'; near it: entropy, varentropy"),
        ("1 + kv.fre", "column 5: kv has kv.used, kv.free, kv.cached, kv.total"),
        ("layer(4).q.rms", "column 7: there is no layer 4: the model has 4"),
        ("layer(1).resd.rms", "column 10: there is no stage 'resd'; near it: resid, resid_mid"),
        ("layer(1).q", "column 10: say what of it: rms, mean, max, min, norm, nan"),
        ("attn_out.rms", "column 1: there is no name 'attn_out': it is in a layer, layer(0).attn_out.rms"),
        ("block(32).refs", "column 7: there is no block 32: the pool has 32"),
        ('rank(" Par is")', "column 6: \" Par is\" is 2 tokens: give text that is one, or a token's id"),
        ("rank(50)", "column 6: there is no token 50: the vocabulary has 50"),
        ("entropy(3)", "column 9: entropy takes no argument"),
        ("rank(3, 4)", "column 7: rank(…) takes one argument"),
        ("entropy > 'a'", "column 9: '>' cannot compare entropy, a number, with \"a\", a text"),
        ("entropy and true", "column 9: 'and' takes a truth value, and entropy is a number"),
        ("1 < 2 < 3", "column 7: comparisons are not chained: join two with 'and'"),
        ("entropy = 3", "column 9: '=' is no operator here: write '=='"),
        ("near_tie && true", "column 10: '&&' is no operator here: write 'and'"),
        ("'abc", "column 1: this text has no closing quote"),
        ("(1 + 2", "column 7: ')' must stand before the end"),
        ("1 +", "column 4: a value must stand here, not the end"),
        ("", "column 1: a value must stand here, not the end"),
        ("1e999", "column 1: this number is too large"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line_with_its_column(source: str, error: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        check(source, KNOWN)
    assert str(refused.value) == error


def test_a_condition_is_true_or_false() -> None:
    assert check_condition("entropy > 3", KNOWN).type is Type.BOOL
    with pytest.raises(ExpressionError, match="a condition is true or false, and this is a number"):
        check_condition("entropy", KNOWN)


def test_what_an_expression_needs_says_when_it_is_known() -> None:
    assert check("kv.free < 3", KNOWN).needs == Needs.STATE
    assert check("layer(2).resid.rms > 1 and req == 3", KNOWN).needs == Needs.STAGE | Needs.REQUEST
    assert check("layer(2).resid.rms", KNOWN).places == {(2, "resid_post")}
    assert Needs.TOKEN in check('rank(" Paris") + 1', KNOWN).needs
    assert stage_place("logits", KNOWN) == (-1, "logits")
    with pytest.raises(DebugError):
        stage_place("entropy", KNOWN)


def moment(request: str | None = None, chosen: Chosen | None = None) -> Moment:
    engine = scripted_engine(32, block_size=4, token_budget=12)
    engine.submit(spec(range(10), 4))
    engine.submit(spec(range(12), 4))
    engine.run(3)
    return Moment(
        engine.state, (), engine.tokens.__contains__, lambda token: f"<{token}>", SeenStages(), request, chosen
    )  # fmt: skip


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("1 + 2 * 3 - 8 / 4", 5.0),
        ("-(1 + 2) % 5", 2.0),
        ("7 % 0", None),
        ("1 / 0", None),
        ("1 / 0 > 0 or not (1 / 0 > 0)", True),
        ("1 / 0 == 1 / 0", False),
        ("not (1 == 2) and 'abc' contains 'b'", True),
        ("'a' != \"a\"", False),
        ("'\\u0041\\n' == 'A\n'", True),
        ("accept_rate > 0 or accept_rate <= 0", False),
        ("step", 3),
        ("kv.used + kv.free + kv.cached == kv.total", True),
        ("queue.running", 2),
        ("req == 2 and req == '2' and req != 3", True),
        ("req.state", "RUNNING"),
        ("request(1).state == req.state", True),
        ("request('9').state", None),
        ("block(0).state", "owned"),
        ("block(0).writer == 1", True),
        ("block(31).writer", None),
        ("entropy", 2.5),
        ("text", "<7>"),
        ("prob", math.exp(-1.0)),
        ("draw", None),
        ("near_tie", False),
    ],
)
def test_values(source: str, value: Value) -> None:
    chosen = Chosen("2", 12, 7, logprob=-1.0, entropy=2.5, near_tie=False)
    assert evaluate(check(source, KNOWN), moment("2", chosen)) == value


def test_a_name_without_its_request_or_token_says_so() -> None:
    for source, error in [("req.state", "no request is looked at"), ("entropy > 1", "none is looked at")]:
        with pytest.raises(LacksError, match=error):
            evaluate(check(source, KNOWN), moment())


def test_a_missing_truth_value_counts_as_false() -> None:
    assert not holds(check_condition("near_tie", KNOWN), moment("2", Chosen("2", 12, 7)))
    assert holds(check_condition("not near_tie", KNOWN), moment("2", Chosen("2", 12, 7)))


def test_bounds_decide_what_they_can() -> None:
    rank = Beyond(21, math.inf, "record more")
    assert not compare("<=", rank, 20)
    assert compare(">", rank, 20)
    assert compare("!=", rank, 3)
    assert compare("<", 20, rank)
    with pytest.raises(LacksError, match="record more"):
        compare("<", rank, 50)
    assert show_value(rank) == "at least 21"


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), st.integers(0, 6), st.integers(0, 6), st.integers(0, 6),
    st.integers(0, 6),
)  # fmt: skip
def test_bounds_never_decide_wrongly(operator: str, a: int, b: int, c: int, other: int) -> None:
    """Whatever value lies within the bounds, an answer that was given is right for it."""
    low, value, high = sorted((a, b, c))
    for swapped in (False, True):
        sides: tuple[Value, Value] = (Beyond(low, high, "why"), other)
        real: tuple[Value, Value] = (value, other)
        if swapped:
            sides, real = sides[::-1], real[::-1]
        try:
            answer = compare(operator, *sides)
        except LacksError:
            continue
        assert answer == compare(operator, *real)


def test_every_name_can_be_written() -> None:
    """The forms in the catalogue are names that the checker takes."""
    stand_ins = {"LAYER": "0", "STATISTIC": "rms", "TOKEN": "3", "BLOCK": "1", "REQUEST": "1"}
    for each in SPECS:
        form = each.form.replace("STAGE", "q" if "LAYER" in each.form else "embed")
        for capital, value in stand_ins.items():
            form = form.replace(capital, value)
        assert check(form, KNOWN).type is each.type
    assert len(SIMPLE) < len(SPECS)
