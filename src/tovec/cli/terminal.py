"""What reaches a terminal: untrusted text made inert, and the short view of embeddings."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tovec.records import Rows

# C0 and C1 controls, DEL, line and paragraph separators, bidi and other format controls, and lone
# surrogates: what could move the cursor, colour, reorder or break a line (faults 182 and 165).
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u206f\ud800-\udfff"
    "\ufeff\ufff9-\ufffb]"
)
SHORT_VALUES = 4  # components shown of each vector, where there is room


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


class TableWriter:
    """Shows rows as they come: index, text, dimensions, first values. A Writer of `formats`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown = 0

    def write(
        self,
        rows: Rows,
        extra: Mapping[str, NDArray[np.int64]],  # noqa: ARG002 - the view has no room for chunks
        vectors: NDArray[np.float32],
    ) -> None:
        """Show one line a row, cut to the terminal's width."""
        import orjson
        from rich.cells import set_cell_size

        width = shutil.get_terminal_size().columns
        shown = max(1, min(SHORT_VALUES, (width - 40) // 9))
        room = max(8, width - 18 - 9 * shown)
        if not self._shown:
            self._line(f"{'index':>6}  {set_cell_size('text', room)}  dims  values")
        for i, row in enumerate(rows.json()):
            fields = orjson.loads(row)
            text = fields.get("text", row.decode(errors="replace"))
            text = safe(text if isinstance(text, str) else row.decode(), 4 * room)
            start = " ".join(f"{value:>8.4f}" for value in vectors[i, :shown])
            more = " …" if vectors.shape[1] > shown else ""
            index = safe(str(fields.get("index", self._shown)), 6)
            self._line(
                f"{index:>6}  {set_cell_size(text, room)}  {vectors.shape[1]:>4}  {start}{more}"
            )
            self._shown += 1
        self._stream.flush()

    def _line(self, line: str) -> None:
        self._stream.write(encodable(line, self._stream) + "\n")

    def finish(self) -> None:
        """Nothing to end."""


def is_terminal(stream: TextIO | None = None) -> bool:
    """Return whether stdout (or `stream`) is a terminal."""
    stream = stream or sys.stdout
    return stream is not None and not stream.closed and stream.isatty()
