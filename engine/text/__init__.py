"""Text in and out of the engine, without torch or transformers."""

from engine.text.chat import ChatTemplate
from engine.text.errors import TextError
from engine.text.stops import OutputText, StopMatch, StopMatcher
from engine.text.stream import TextStream
from engine.text.tokenizer import Tokenizer

__all__ = [
    "ChatTemplate",
    "OutputText",
    "StopMatch",
    "StopMatcher",
    "TextError",
    "TextStream",
    "Tokenizer",
]
