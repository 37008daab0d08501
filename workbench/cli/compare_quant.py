"""`compare-quant`: what methods of quantization do to a model. Imports torch once all is checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.model.checkpoint import open_checkpoint
from engine.model.config import ModelConfig, read_config
from engine.quantization_result import Measured, QuantizationResult
from plugins.quantization.measure_windows import Window, stride_of, windows
from plugins.quantization.methods import METHODS, parse_method
from plugins.quantization.options import Where
from sessions.quantization_kept import TEXT, MeasuredText, keep
from workbench.cli.compare_quant_kept import Subject, read_kept
from workbench.cli.compare_quant_print import print_comparison
from workbench.cli.console import print_json, say
from workbench.cli.errors import CommandError
from workbench.cli.folders import is_bundled
from workbench.cli.held_out import SAMPLE, read_text
from workbench.cli.model_finder import resolve_model
from workbench.cli.progress import told_progress
from workbench.cli.specs import split_specs
from workbench.cli.torch_threads import wait_passively

if TYPE_CHECKING:
    from engine.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class CompareOrder:
    """What to compare: `methods` as on the command line, `text` a file or the bundled sample."""

    model: str
    methods: str
    text: Path | None = None
    window: int = 512
    each: bool = False
    force: bool = False
    progress: bool = False  # a line at a time on standard error, for whoever reads that


def compare_methods(order: CompareOrder, json: bool) -> None:
    """Measure what is not known yet, and print all."""
    folder, methods = resolve_model(order.model), split_methods(order.methods)
    config = _check(folder, methods)
    text = read_text(order.text, "predicting")
    dtype = "float32" if is_bundled(folder) else config.dtype or "float32"
    window = min(order.window, config.context_tokens)
    wait_passively()
    from engine.text.convert import load_tokenizer  # imports torch, where a tokenizer is to be converted

    tokenizer = load_tokenizer(folder)
    ids = tokenizer.encode(text, add_special_tokens=False)
    first = config.bos_ids[:1]
    seen = tuple(windows(ids, window, first))
    subject = Subject.of(folder, text.encode(), dtype, window)
    stride, name = stride_of(window, len(first)), str(order.text or SAMPLE.name)
    words = tuple(map(tokenizer.token_text, ids))
    measured = MeasuredText(str(folder.resolve()), dtype, name, window, stride, tuple(first), tuple(ids), words)
    keep(subject.folder / TEXT, measured)
    found = [_measured(order, folder, subject, method, seen, tokenizer) for method in methods.items()]
    result = QuantizationResult(
        model=str(folder), dtype=dtype, text=name, tokens=len(ids),
        positions=sum(each.scored for each in seen), window=window, stride=stride,
        baseline=found[0].baseline, methods=tuple(each.method for each in found),
    )  # fmt: skip
    print_json(result) if json else print_comparison(result)


def split_methods(text: str) -> dict[str, Where]:
    """`int4=group:32,keep:down,gptq`: a part that is no method's name goes on with the options before it.

    Raises OptionError."""
    return {spec: parse_method(spec)[1] for spec in split_specs(text, METHODS)}


def _check(folder: Path, methods: dict[str, Where]) -> ModelConfig:
    config = read_config(folder)
    if config.layout is not None:
        raise CommandError(
            f"{folder}: its weights are quantized already ({config.layout.name}): compare the original"
        )
    open_checkpoint(folder).check(config)
    for options in methods.values():
        options.check(config.layers)
    return config


def _measured(
    order: CompareOrder, folder: Path, subject: Subject, method: tuple[str, Where], seen: tuple[Window, ...],
    tokenizer: Tokenizer,
) -> Measured:  # fmt: skip
    name, options = method
    path = subject.path(name, options, order.each)
    if not order.force and (kept := read_kept(path, name)) is not None:
        say(f"{name}: measured before; --force measures again")
        return kept
    from engine.model.weights import DTYPES  # takes seconds
    from plugins.quantization.measure import Asked, measure, quantize

    asked = Asked(folder, DTYPES[subject.dtype], name, options, seen, order.each)
    with told_progress(f"{name}: quantizing", "projections", lines=order.progress) as progress:
        made = quantize(asked, progress)
    with told_progress(f"{name}: predicting", "windows", lines=order.progress) as progress:
        found = measure(asked, made, tokenizer.token_text, progress)
    keep(path, found)
    return found
