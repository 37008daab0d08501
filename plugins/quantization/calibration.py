"""The text that activations are seen on: the user's, or a sample that ships with the project."""

from __future__ import annotations

from pathlib import Path

from engine.model.config import ModelConfig
from engine.option_error import OptionError
from engine.text.convert import load_tokenizer
from plugins.quantization.options import Calibrated

SAMPLE = Path(__file__).parent / "calibration.txt"


def read_sequences(folder: Path, options: Calibrated, config: ModelConfig) -> list[list[int]]:
    """Pieces of the text in tokens of the model in `folder`, spread evenly over it.

    Each begins as texts do for this model: what its first token does to activations, no other one does. Raises
    OptionError for a text that cannot be read or is too short to be cut into one piece.
    """
    ids = load_tokenizer(folder).encode(_read(options.text), add_special_tokens=False)
    first = list(config.bos_ids[:1])
    length = min(options.length, config.context_tokens) - len(first)
    starts = range(0, len(ids) - length + 1, length)
    if not starts:
        raise OptionError(
            f"text is {options.text or SAMPLE.name!r}: it has {len(ids)} tokens, one piece takes {length}:"
            " give a longer text or a smaller length"
        )
    wanted = min(options.samples, len(starts))
    chosen = [starts[index * len(starts) // wanted] for index in range(wanted)]
    return [first + ids[start : start + length] for start in chosen]


def _read(text: str) -> str:
    path = Path(text).expanduser() if text else SAMPLE
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise OptionError(f"text is {text!r}: it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"text is {text!r}: it is not UTF-8 text") from error
