"""Request ids: `"7"`, or `"7.2"` for sample 2 of a request with several; and their form as one integer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

SAMPLE_BITS = 7  # n is at most 64, and 0 means "the only sample"


def request_id(number: int, sample: int | None = None) -> str:
    """The id of request `number`, or of one of its samples when it has several."""
    return str(number) if sample is None else f"{number}.{sample}"


def sibling_ids(request: str, samples: int) -> Iterator[str]:
    """The ids of all samples of the request that `request` is a sample of, itself included."""
    number = int(request.partition(".")[0])
    return (request_id(number, sample) for sample in range(samples))


@lru_cache(maxsize=1 << 12)
def request_code(request: str) -> int:
    """`request` as an integer that columns can hold; ordered by number, then sample; -1 for no request."""
    if not request:
        return -1
    number, _, sample = request.partition(".")
    return int(number) << SAMPLE_BITS | (int(sample) + 1 if sample else 0)


def request_of(code: int) -> str:
    """The id that `request_code` turned into `code`."""
    if code < 0:
        return ""
    number, sample = code >> SAMPLE_BITS, code & ((1 << SAMPLE_BITS) - 1)
    return request_id(number, sample - 1 if sample else None)
