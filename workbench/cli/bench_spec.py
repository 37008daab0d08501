"""`bench-spec`: how much faster drafts make decoding of a user's own text. Imports torch once all is checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.model.checkpoint import open_checkpoint
from engine.model.config import ModelConfig, read_config
from engine.params import SamplingParams
from engine.plug_guard import PluginFailedError
from plugins.finding import installed
from plugins.loading import load_plugins
from workbench.cli.bench_spec_result import DraftResult, SpecResult, result_of
from workbench.cli.console import print_json, print_pairs, print_table
from workbench.cli.errors import CommandError
from workbench.cli.folders import is_bundled
from workbench.cli.held_out import SAMPLE, read_text
from workbench.cli.model_finder import resolve_model
from workbench.cli.progress import told_progress
from workbench.cli.specs import split_specs
from workbench.cli.torch_threads import wait_passively


@dataclass(frozen=True, slots=True)
class SpecOrder:
    """What to compare: `drafts` as on the command line, on pieces of `text`, a file or the bundled sample."""

    model: str
    drafts: str
    text: Path | None = None
    prompts: int = 4
    prompt_tokens: int = 128
    max_tokens: int = 96
    rounds: int = 3
    temperature: float = 0.0
    threads: int | None = None
    progress: bool = False


def compare_drafts(order: SpecOrder, json: bool) -> None:
    """Decode pieces of the text plainly and with each method, in turn, and print how they compare."""
    folder = resolve_model(order.model)
    methods = _methods(order.drafts)
    config = _check(folder, order)
    text = read_text(order.text, "decoding after pieces of")
    dtype = "float32" if is_bundled(folder) else config.dtype or "float32"
    wait_passively()
    import torch

    from engine.model.weights import DTYPES, load_decoder
    from engine.text.convert import load_tokenizer
    from plugins.speculative.timing import Bench, plugs_by_name

    if order.threads is not None:
        torch.set_num_threads(order.threads)
    ids = load_tokenizer(folder).encode(text, add_special_tokens=False)
    prompts = cut_prompts(ids, config.bos_ids[:1], order.prompts, order.prompt_tokens)
    params = SamplingParams(max_tokens=order.max_tokens, temperature=order.temperature, ignore_eos=True)
    longest = order.prompt_tokens + order.max_tokens
    bench = Bench(folder, load_decoder(folder, DTYPES[dtype]), plugs_by_name(methods), longest)
    timed = []
    with told_progress("decoding", "requests", lines=order.progress) as progress:
        total = len(prompts) * order.rounds * (len(methods) + 1)
        try:
            for one in bench.run(prompts, params, order.rounds):
                timed.append(one)
                progress(len(timed), total)
        except PluginFailedError as failure:
            raise CommandError(f"{failure}: there is nothing to compare") from failure
    result = result_of(
        timed, methods, model=str(folder), dtype=dtype, text=str(order.text or SAMPLE.name), prompts=len(prompts),
        prompt_tokens=order.prompt_tokens, max_tokens=order.max_tokens, rounds=order.rounds,
        temperature=order.temperature, threads=torch.get_num_threads(),
    )  # fmt: skip
    print_json(result) if json else print_result(result)


def _methods(text: str) -> list[str]:
    """The methods; each must bring drafts. Raises PluginError or CommandError."""
    methods = split_specs(text, installed())
    for method in methods:
        if not load_plugins([method]).of_kind("drafter"):
            raise CommandError(f"{method}: that plugin drafts nothing: name ngram, draft, or another that does")
    return methods


def _check(folder: Path, order: SpecOrder) -> ModelConfig:
    config = read_config(folder)
    open_checkpoint(folder).check(config)
    longest = order.prompt_tokens + order.max_tokens
    if longest > config.context_tokens:
        raise CommandError(
            f"--prompt-tokens {order.prompt_tokens} and --max-tokens {order.max_tokens} are {longest} together:"
            f" the model holds {config.context_tokens}"
        )
    if order.max_tokens < 2:
        raise CommandError(f"--max-tokens is {order.max_tokens}: give at least 2, the first takes no decode step")
    return config


def cut_prompts(ids: Sequence[int], first: Sequence[int], count: int, size: int) -> list[tuple[int, ...]]:
    """`count` pieces of `size` tokens from all over the text, each after the special tokens `first`.

    Raises CommandError for a text that has not one of them."""
    held = size - len(first)
    if held < 1 or len(ids) < held:
        raise CommandError(f"the text has {len(ids)} tokens, and --prompt-tokens {size} wants {held}: give fewer")
    spare = len(ids) - held
    starts = {round(spare * number / max(1, count - 1)) for number in range(count)}
    return [(*first, *ids[start : start + held]) for start in sorted(starts)]


def print_result(result: SpecResult) -> None:
    """The methods beside plain decoding."""
    drawn = f"drawn at temperature {result.temperature:g}" if result.temperature else "greedy"
    print_pairs(
        [
            ("model", f"{result.model}, computing in {result.dtype} with {result.threads} threads"),
            ("text", f"{result.text}: {result.prompts} pieces of {result.prompt_tokens} tokens"),
            ("decoding", f"{result.max_tokens} tokens after each, {drawn}, one request at a time"),
            ("in turn", f"{result.rounds} times each; speed-up is the median over pairs, with their quartiles"),
        ]
    )
    print()
    head = ("method", "tokens/forward", "accepted", "tokens/s", "speed-up", "quartiles", "same output")
    print_table(head, [_plain_row(result), *map(_row, result.methods)], right=range(1, len(head)))


def _plain_row(result: SpecResult) -> Sequence[str]:
    return ("plain", "1.00", "-", f"{result.plain_tokens_per_s:.1f}", "1.00x", "-", "-")


def _row(method: DraftResult) -> Sequence[str]:
    same = "-" if method.same_output is None else f"{method.same_output} of {method.outputs}"
    return (
        method.method, f"{method.tokens_per_forward:.2f}", f"{method.acceptance:.1%}",
        f"{method.tokens_per_s:.1f}", f"{method.speed_up:.2f}x",
        f"{method.speed_up_low:.2f}x to {method.speed_up_high:.2f}x", same,
    )  # fmt: skip


__all__ = ["SpecOrder", "compare_drafts", "cut_prompts"]
