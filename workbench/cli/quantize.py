"""`quantize`: a model folder written again with its weights in fewer bits. Imports torch once all is checked."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import msgspec

from engine.model.checkpoint import open_checkpoint
from engine.model.config import read_config
from plugins.quantization.methods import parse_method
from plugins.quantization.options import Where
from workbench.cli.console import print_json, print_pairs, say
from workbench.cli.errors import CommandError
from workbench.cli.model_finder import resolve_model
from workbench.cli.progress import progress_bar
from workbench.cli.sizes import show_size
from workbench.cli.torch_threads import wait_passively


class Quantized(msgspec.Struct, frozen=True):
    """What was written. `bytes_before` and `bytes_after` are those of the weights that changed form."""

    model: str
    method: str
    folder: str
    format: str
    weights: int
    bytes_before: int
    bytes_after: int
    bits_per_weight: float
    embedding_bytes: int
    file_bytes: int
    kept: tuple[str, ...]


def quantize_model(model: str, method: str, output: Path, force: bool, json: bool) -> None:
    """Quantize, write, and print what it came to."""
    folder = resolve_model(model)
    _, options = parse_method(method)
    config = read_config(folder)
    open_checkpoint(folder).check(config)
    options.check(config.layers)
    _check_folder(folder, output, force)
    with tempfile.TemporaryDirectory(dir=output.absolute().parent, prefix=".quantizing-") as unfinished:
        result = _write(folder, method, Path(unfinished), output, options)
        _put(Path(unfinished), output)
    _print(result, json)


def _check_folder(source: Path, output: Path, force: bool) -> None:
    """Raise CommandError when the folder cannot be made, or holds something that may not be replaced."""
    if output.resolve() == source.resolve():
        raise CommandError(f"{output} is the model itself: write to another folder")
    if output.exists() and not output.is_dir():
        raise CommandError(f"{output} is a file: give the name of a folder")
    if output.is_dir() and any(output.iterdir()) and not force:
        raise CommandError(
            f"{output} exists and is not empty: choose another name, or write over it with --force"
        )
    if not output.absolute().parent.is_dir():
        raise CommandError(f"{output}: there is no folder {output.absolute().parent}: make it first")
    if not os.access(output.absolute().parent, os.W_OK):
        raise CommandError(f"{output} cannot be written: you have no permission; choose another place")


def _write(source: Path, method: str, unfinished: Path, output: Path, options: Where) -> Quantized:
    wait_passively()
    from plugins.quantization.writing import write_folder  # takes seconds

    with progress_bar("calibrating", "projections") as progress:
        written = write_folder(source, unfinished, options, progress)
    bits = 8 * written.after / written.weights if written.weights else 0.0
    return Quantized(
        str(source), method, str(output), written.format, written.weights, written.before, written.after,
        round(bits, 3), written.embedding, written.file, written.kept,
    )  # fmt: skip


def _put(unfinished: Path, output: Path) -> None:
    output.mkdir(exist_ok=True)
    for path in unfinished.iterdir():
        shutil.move(path, output / path.name)


def _print(result: Quantized, json: bool) -> None:
    if json:
        print_json(result)
        return
    before, after = result.bytes_before, result.bytes_after
    print_pairs(
        [
            ("folder", result.folder),
            ("method", result.method),
            ("format", result.format),
            ("weights", f"{result.weights:,} quantized, {result.bits_per_weight} bits each with their scales"),
            ("before", show_size(before)),
            ("after", f"{show_size(after)}, {after / before:.2f} of before" if before else "-"),
            ("embedding", f"{show_size(result.embedding_bytes)}, as it was"),
            ("file", show_size(result.file_bytes)),
        ]
    )
    others = [name for name in result.kept if name != "lm_head"]
    say(f"lm_head stays as it is{f', and {len(others)} other projections' if others else ''}")
