"""What every format offers: a reader that yields blocks, a writer that takes rows and vectors.

A format is one file beside this one, its reader and its writer together; `formats/__init__.py`
lists them by name. Readers stream: they hold one block, whatever the size of the input, and hand
over what a pipe has delivered without waiting for more. Writers never close their sink and never
name a file: where bytes go, and when a file becomes visible, is the job's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tovec.formats.quantised import Scale
    from tovec.records import Rows


class Partition(NamedTuple):
    """A column that a directory's name holds for the rows below it: `year=2024`."""

    name: str
    value: str | int | None
    kind: str  # "text" or "integer": of the column, over the whole directory


class ReadOptions(NamedTuple):
    """How input is read; the command line's input options, validated."""

    format: str = "auto"
    text_fields: tuple[str, ...] = ("text",)
    template: str | None = None
    id_field: str | None = None
    null_separated: bool = False
    encoding: str = "utf-8"
    encoding_errors: str = "strict"
    glob: str | None = None  # of a directory, the files that are read
    ours: tuple[str, ...] = ()  # outputs, which are not read where a directory holds them
    columns: tuple[str, ...] | None = None  # the output's; what else is not needed is not read
    csv_types: str = "auto"  # or "text"
    delimiter: str | None = None  # of CSV and TSV; None is a comma and a tab
    header: bool = True  # whether the first record of CSV and TSV names the columns
    csv_quoting: str = "quotes"  # or "backslash", as psql's COPY and mysql --batch write
    plain_as_text: bool = False  # plain texts ignore the names of fields: others are meant
    template_option: str = "--template"  # what the template is called in messages
    given: frozenset[str] = frozenset()  # the options that the user named, "--encoding"
    partition: tuple[Partition, ...] = ()  # of the file that is read


class VectorMeta(NamedTuple):
    """What an output says of its vectors, in its schema metadata or side file."""

    model: str
    provider: str
    dimensions: int | None  # None only when nothing was embedded and the model is unknown
    dtype: str = "float32"  # or another of `quantised.DTYPES`
    tool: str = ""  # "tovec 0.1.0"
    scale: Scale | None = None  # of integers, where it is not the unit scale
    truncated_from: int | None = None  # the model's dimensions, where vectors were truncated here


class WriteOptions(NamedTuple):
    """What of a row is written beside its vector."""

    columns: tuple[str, ...] | None = None  # None: all of them, as they came
    id_field: str | None = None
    also: str | None = None  # the type of a second column of the same vectors
    truncate_dim: int | None = None
    force_truncate: bool = False  # of models that are not known to be made for it
    parquet_list: Literal["fixed", "plain"] | None = None  # of the columns of vectors


class Sink(Protocol):
    """Where an output's bytes go: the file itself and the files beside it."""

    @property
    def name(self) -> str:
        """The output's file name, for files that name it."""
        ...

    @property
    def file(self) -> BinaryIO:
        """The output; seekable unless it is a pipe."""
        ...

    @property
    def seekable(self) -> bool:
        """Whether `file` may be rewound to complete its header."""
        ...

    def beside(self, suffix: str) -> BinaryIO:
        """Open a further file whose name is the output's plus `suffix` (npy's side files)."""
        ...


class Writer(Protocol):
    """Takes rows and their vectors in output order."""

    def write(
        self,
        rows: Rows,
        extra: Mapping[str, NDArray[np.int64]],
        vectors: NDArray[np.float32],
    ) -> None:
        """Write `len(rows)` rows; `extra` are integer columns of ours (chunk, start, end)."""
        ...

    def finish(self) -> None:
        """Write what ends the output (footer, row count, side files); the sink stays open."""
        ...
