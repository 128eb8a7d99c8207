"""`tovec.Embedder`: texts to vectors for Python programs, and for engines that run them in parts.

The checks, the packing, the limits and the errors are those of the command line; so are the
settings, from the arguments over the environment over the config file.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from tovec import settings
from tovec.errors import InputError, UsageError
from tovec.events import Event, Note
from tovec.formats import lines
from tovec.pipeline.complete import preparation
from tovec.pipeline.connect import Connection, connect
from tovec.pipeline.long_texts import LongTexts
from tovec.pipeline.reorder import Finished
from tovec.pipeline.stream import embed_blocks
from tovec.records import Block

_LOG = logging.getLogger("tovec")
_LEVELS = {"warning": logging.WARNING, "info": logging.INFO, "summary": logging.INFO}
R = TypeVar("R")
"""A pyarrow Table or RecordBatch, or a mapping of columns; pyarrow ships no types."""


class Embedder:
    """Turns texts into embedding vectors.

        embedder = tovec.Embedder(provider="openai", model="text-embedding-3-small")
        embedder.embed(["one text", "another"])         # float32 (2, 1536)
        embedder(table)                                 # the table with the column "embedding"

    The keyword arguments are the options of the command line that choose an endpoint: provider,
    model, base_url, url, dimensions, encoding_format, user, prompt, extra (further fields of the
    request), timeout, max_retries, give_up_after (seconds), concurrency, rpm and tpm. `config` is
    the path of a config file; without it, and for what is not given, the environment and the
    user's own config file hold, as for `tovec embed`. `text_field` names the column that is
    embedded and `output` the column that is added. `long` says what is done with texts over the
    model's limit: "error", "truncate" or "mean".

    Nothing is connected before the first text. An embedder can be pickled, which carries its
    arguments and no connection, and be used by several threads at once, which share its limits.
    Close it, or use it in a `with`, to end its connections; they end with the process otherwise.

    Raises UsageError for arguments that cannot be meant; `embed` and calls raise InputError for a
    row that cannot be embedded, LaterError where the endpoint failed after all retries, and
    PersonError where somebody must act (key, billing, model). All are TovecError, with `what`,
    `where` and `hint`. Notes go to the logger "tovec".
    """

    def __init__(
        self,
        *,
        config: str | None = None,
        text_field: str = "text",
        output: str = "embedding",
        long: str = "error",
        **options: object,
    ) -> None:
        unknown = set(options) - set(settings.FIELDS)
        if unknown:
            raise TypeError(f"Embedder has no argument {sorted(unknown)[0]!r}")
        if long not in ("error", "truncate", "mean"):
            raise UsageError("long takes error, truncate or mean")
        self._arguments = {
            "config": config, "text_field": text_field, "output": output, "long": long, **options
        }  # fmt: skip
        self._text_field, self._output, self._long = text_field, output, LongTexts(long)
        self._settings = settings.load(config, os.environ).with_flags(options)
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts: float32, C-contiguous, (len(texts), dimensions).

        No texts give (0, dimensions), where these are known beforehand, else (0, 0).
        """
        connection = self._connect()
        prepare = preparation(connection, self._long)
        # The model inside is one computation after the other; requests over a network overlap.
        turn = self._lock if connection.provider.in_process else nullcontext()
        with turn, closing(embed_blocks(connection, _blocks(texts), prepare)) as embedded:
            found = [_complete(finished) for finished in embedded]
        if not len(texts):
            return np.empty((0, connection.dimensions or 0), np.float32)
        return np.ascontiguousarray(np.concatenate(found))

    def __call__(self, rows: R) -> R:
        """Return rows with their vectors as one more column.

        A pyarrow Table or RecordBatch gets a fixed-size list of float32, a mapping of columns (as
        engines hand over) a float32 array (n, dimensions). Raises UsageError where the text's
        column is missing, or the vectors' is there already, and where there are no rows and the
        dimensions are not known.
        """
        table: Any = rows
        is_mapping = isinstance(rows, Mapping)
        names = list(table) if is_mapping else table.schema.names
        if self._text_field not in names:
            have = ", ".join(names[:20]) or "none"
            raise UsageError(f"there is no column {self._text_field!r}", hint=f"columns: {have}")
        if self._output in names:
            raise UsageError(f"there is a column {self._output!r} already", hint="output names it")
        column = table[self._text_field]
        vectors = self.embed(list(column) if is_mapping else column.to_pylist())
        if is_mapping:
            added: object = {**table, self._output: vectors}
        else:
            added = _with_column(table, self._output, vectors)
        return cast(R, added)

    @property
    def dimensions(self) -> int | None:
        """Return the vectors' dimensions, as far as they are known beforehand."""
        return self._connect().dimensions

    def close(self) -> None:
        """End the connections; the next text makes new ones."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> Embedder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        return _made_of, (self._arguments,)

    def __repr__(self) -> str:
        chosen = (f"{k}={v!r}" for k, v in self._arguments.items() if k in ("provider", "model"))
        return f"Embedder({', '.join(chosen)})"

    def _connect(self) -> Connection:
        with self._lock:
            if self._connection is None:
                self._connection = connect(self._settings, os.environ, _log)
                self._connection.takes_signals = False
            return self._connection


def _made_of(arguments: dict[str, Any]) -> Embedder:
    return Embedder(**arguments)


def _log(event: Event) -> None:
    if isinstance(event, Note):
        _LOG.log(_LEVELS.get(event.level, logging.INFO), event.text)


def _blocks(texts: Sequence[str]) -> Iterator[Block]:
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            kind = "null" if text is None else type(text).__name__
            raise InputError(f"the text is {kind}, not a string", where=f"row {number}")
        if not text or text.isspace():
            raise InputError("the text is empty", where=f"row {number}")
    return lines.from_texts(texts, source="row", first=0)


def _complete(finished: Finished) -> NDArray[np.float32]:
    """Return a block's vectors. Raises InputError for a row that the endpoint refused."""
    for source, number, reason in finished.refused:
        raise InputError(f"the endpoint refuses the text: {reason}", where=f"{source} {number}")
    return finished.vectors


def _with_column(rows: Any, name: str, vectors: NDArray[np.float32]) -> Any:
    import pyarrow as pa

    if not vectors.shape[1]:
        raise UsageError(
            "there are no rows, and the vectors' dimensions are not known before the first",
            hint="name them: Embedder(dimensions=...)",
        )
    flat = pa.array(vectors.reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    return rows.append_column(name, column)
