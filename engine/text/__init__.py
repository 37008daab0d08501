"""Text in and out of the engine, without torch or transformers.

Chat templates are in `engine.text.chat` and conversions in `engine.text.convert`: they load more.
"""

from engine.text.errors import TextError
from engine.text.stops import OutputText, StopMatch, StopMatcher
from engine.text.stream import TextStream
from engine.text.tokenizer import Tokenizer

__all__ = [
    "OutputText",
    "StopMatch",
    "StopMatcher",
    "TextError",
    "TextStream",
    "Tokenizer",
]
