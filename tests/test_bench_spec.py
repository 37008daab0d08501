"""`bench-spec`: drafts beside plain decoding on the same prompts, and what makes no sense is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plugins.speculative.timing import Timed
from tests.bundled import FOLDER
from tests.commands import run
from workbench.cli.bench_spec import cut_prompts
from workbench.cli.bench_spec_result import result_of
from workbench.cli.errors import CommandError
from workbench.cli.specs import split_specs


def benched(*more: object) -> dict[str, Any]:
    ran = run("bench-spec", FOLDER, "--json", *more)
    assert ran.code == 0, ran.err
    found: dict[str, Any] = json.loads(ran.out)
    return found


def test_the_bundled_draft_gives_tokens_and_greedy_output_stays() -> None:
    """Held-out Python: what is said of tokens per forward does not depend on how busy the machine is."""
    found = benched(
        "--drafts", "draft,ngram=tokens:4,max_ngram:3", "--prompts", 3, "--max-tokens", 64, "--rounds", 1
    )
    draft, lookup = found["methods"]
    assert [draft["method"], lookup["method"]] == ["draft", "ngram=tokens:4,max_ngram:3"]
    assert draft["tokens_per_forward"] > 1.8
    assert lookup["tokens_per_forward"] > 1
    for method in (draft, lookup):
        assert method["acceptance"] == method["accepted"] / method["drafted"]
        assert method["outputs"] == method["same_output"] == 3
        assert method["speed_up_low"] <= method["speed_up"] <= method["speed_up_high"]


def test_drawn_output_is_not_compared() -> None:
    found = benched("--drafts", "ngram", "--prompts", 1, "--max-tokens", 8, "--rounds", 1, "--temperature", 0.8)
    assert found["methods"][0]["same_output"] is None


def test_the_table_names_what_was_measured() -> None:
    ran = run("bench-spec", FOLDER, "--drafts", "ngram", "--prompts", 1, "--max-tokens", 8, "--rounds", 1)
    assert ran.code == 0, ran.err
    assert "bundled sample" in ran.err
    for said in ("plain", "ngram", "tokens/forward", "1 pieces of 128 tokens", "1 of 1"):
        assert said in ran.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--drafts", "nothing"), "no plugin nothing"),
        (("--drafts", "int8"), "int8: that plugin drafts nothing"),
        (("--drafts", "ngram=tokens:900"), "tokens"),
        (("--prompt-tokens", 9000), "the model holds 1024"),
        (("--max-tokens", 1), "--max-tokens is 1"),
        (("--text", "/dev/null"), "0 tokens"),
        (("--text", "nowhere.txt"), "nowhere.txt"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(arguments: tuple[object, ...], said: str) -> None:
    ran = run("bench-spec", FOLDER, *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err.splitlines()[-1]


def test_prompts_come_from_all_over_the_text() -> None:
    assert cut_prompts(range(100), (7,), 3, 11) == [(7, *range(10)), (7, *range(45, 55)), (7, *range(90, 100))]
    assert cut_prompts(range(10), (), 4, 10) == [tuple(range(10))]
    with pytest.raises(CommandError, match="9 tokens"):
        cut_prompts(range(9), (), 1, 10)


def test_options_go_on_after_a_comma() -> None:
    names = {"ngram", "draft"}
    assert split_specs("ngram=tokens:8,adaptive:true, draft", names) == ["ngram=tokens:8,adaptive:true", "draft"]


def test_speed_up_is_the_median_over_pairs() -> None:
    def timed(method: str, seconds: float, passes: int) -> Timed:
        return Timed(method, 0, (1, 2, 3, 4), passes, 3, 2, seconds)

    plain = [timed("", each, 3) for each in (1.0, 2.0, 4.0)]
    drafted = [timed("m", each, 1) for each in (0.5, 2.0, 1.0)]
    about = {
        "model": "",
        "dtype": "",
        "threads": 1,
        "text": "",
        "prompts": 3,
        "prompt_tokens": 1,
        "max_tokens": 4,
    }
    result = result_of([*plain, *drafted], ["m"], temperature=0.0, rounds=1, **about)
    (method,) = result.methods
    assert (method.speed_up, method.speed_up_low, method.speed_up_high) == (2.0, 1.0, 4.0)
    assert (method.tokens_per_forward, method.acceptance) == (3.0, 2 / 3)
    assert result.plain_tokens_per_s == 9 / 7
    assert method.same_output == 3
