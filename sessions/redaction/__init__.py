"""A session without its text: a copy in which nothing says what was prompted or generated.

Text becomes marks of the same length, token ids become pseudonyms; steps, blocks, counts, times and
probabilities stay. What is covered: `docs/exports.md`.
"""

from __future__ import annotations

from sessions.redaction.redact import REDACTED_NAME, redact

__all__ = ["REDACTED_NAME", "redact"]
