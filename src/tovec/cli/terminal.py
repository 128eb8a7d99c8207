"""What reaches a terminal: untrusted text made inert, and no sign that it cannot show."""

from __future__ import annotations

import re
import sys
from typing import TextIO

# C0 and C1 controls, DEL, line and paragraph separators, bidi and other format controls, and lone
# surrogates: what could move the cursor, colour, reorder or break a line (faults 182 and 165).
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u206f\ud800-\udfff"
    "\ufeff\ufff9-\ufffb]"
)


def safe(text: str, limit: int = 512) -> str:
    """Return the text, cut to `limit`, with escapes for everything a terminal would act on."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return _UNSAFE.sub(
        lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), cut
    )


def encodable(text: str, stream: TextIO) -> str:
    """Return the text with what the stream's encoding lacks as escapes (LANG=C, fault 188)."""
    encoding = getattr(stream, "encoding", None) or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def is_terminal(stream: TextIO | None = None) -> bool:
    """Return whether stdout (or `stream`) is a terminal."""
    stream = stream or sys.stdout
    return stream is not None and not stream.closed and stream.isatty()
