"""Tokenizers that are not in `tokenizer.json`, converted by transformers.

For the engine's process only: importing transformers imports torch, which takes seconds.
"""

from __future__ import annotations

from pathlib import Path

from engine.text.errors import TextError
from engine.text.tokenizer import Tokenizer

__all__ = ["load_tokenizer"]


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder, from tokenizer.json or from whatever transformers can convert.

    Raises TextError if neither can be read.
    """
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.from_folder(folder)
    return _converted(folder)


def _converted(folder: Path) -> Tokenizer:
    from transformers import AutoTokenizer

    try:
        slow = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return Tokenizer(slow.backend_tokenizer)
    except Exception as error:  # every tokenizer class fails in its own way
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise TextError(f"{folder} has no tokenizer.json, and transformers cannot make one: {reason}") from error
