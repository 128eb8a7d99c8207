"""What `tovec embed` shows on a terminal: the first values of each vector, in columns."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

import orjson
from rich.cells import set_cell_size

from tovec.cli.terminal import encodable, safe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tovec.records import Rows

SHORT_VALUES = 4  # components shown of each vector, where there is room


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
