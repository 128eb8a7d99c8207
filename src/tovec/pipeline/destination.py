"""Where embedded rows go: a file, a directory of part files, or standard output.

A destination is opened before anything is asked for, so that one that cannot be written costs
nothing. It is begun when the rows' dimensions are known, takes blocks in input order, and appears
whole when it is published, or is discarded; standard output alone is seen as it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from tovec import formats
from tovec.formats.protocols import Sink, VectorMeta, WriteOptions, Writer
from tovec.pipeline.reorder import Finished
from tovec.store.durable import OutputFile, Published, StandardOutput
from tovec.store.output_directory import OutputDirectory

STDOUT = "-"
_ENDINGS = {"gzip": ".gz", "zstd": ".zst", None: ""}


class Target(NamedTuple):
    """What is written, as what, and how. `rows_per_file` makes a directory of part files."""

    path: str = STDOUT
    format: str | None = None
    dtype: str = "float32"
    write: WriteOptions = WriteOptions()
    rows_per_file: int | None = None
    int8_scale: str | None = None  # of int8 and uint8: "unit", "dimension"

    @property
    def format_name(self) -> str:
        """Return the name of the format: as it was given, else by the path's ending."""
        return formats.output_format(self.path, self.format)

    @property
    def side_file(self) -> str | None:
        """Return the path of the file that is written beside the output, if any."""
        return f"{self.path}.json" if self.format_name == "npy" else None


class Destination(Protocol):
    """Takes finished blocks. After `discard`, or an error, nothing of it is visible."""

    @property
    def is_seen_at_once(self) -> bool:
        """Whether rows are visible as they are written, and cannot be taken back."""
        ...

    def begin(self, meta: VectorMeta) -> None:
        """Prepare to take rows whose vectors are described by `meta`."""
        ...

    def write(self, finished: Finished) -> None:
        """Write a block of rows."""
        ...

    def prepare(self) -> Published:
        """Complete everything and make it durable; return what will be visible."""
        ...

    def publish(self) -> None:
        """Make everything visible at once."""
        ...

    def discard(self) -> None:
        """Leave nothing behind."""
        ...


def open_destination(
    target: Target,
    *,
    force: bool = False,
    ours: Published = (),
    view: Callable[[], Writer] | None = None,
) -> Destination:
    """Return the destination for a target; nothing is visible yet.

    What is there already is replaced with `force`, or where it is one of `ours`, which an earlier
    run published. `view` makes the writer that shows rows on a terminal.
    Raises UsageError, FileError and LockedError for a place that cannot be written.
    """
    if target.path == STDOUT:
        return _Stream(target, view)
    if target.rows_per_file is not None:
        return _Parts(target, OutputDirectory(target.path, force=force, ours=ours))
    return _File(target, OutputFile(target.path, force=force, ours=ours))


class _File:
    """One file, and those beside it."""

    is_seen_at_once = False

    def __init__(self, target: Target, output: OutputFile) -> None:
        self._target, self._output = target, output
        self._writer: Writer | None = None

    def begin(self, meta: VectorMeta) -> None:
        self._writer = _writer(self._target, self._output, meta)

    def write(self, finished: Finished) -> None:
        assert self._writer is not None
        self._writer.write(finished.rows, finished.extra, finished.vectors)

    def prepare(self) -> Published:
        assert self._writer is not None
        self._writer.finish()
        return self._output.prepare()

    def publish(self) -> None:
        self._output.publish()

    def discard(self) -> None:
        self._output.discard()


class _Stream:
    """Standard output, for programs or, with `view`, for a person."""

    is_seen_at_once = True

    def __init__(self, target: Target, view: Callable[[], Writer] | None) -> None:
        self._target, self._view = target, view
        self._output = StandardOutput()
        self._writer: Writer | None = None

    def begin(self, meta: VectorMeta) -> None:
        self._writer = self._view() if self._view else _writer(self._target, self._output, meta)

    def write(self, finished: Finished) -> None:
        assert self._writer is not None
        self._writer.write(finished.rows, finished.extra, finished.vectors)
        self._output.file.flush()  # what is answered is seen at once, as under `tail -f`

    def prepare(self) -> Published:
        assert self._writer is not None
        self._writer.finish()
        return ()

    def publish(self) -> None:
        self._output.commit()

    def discard(self) -> None:
        self._output.discard()


class _Parts:
    """A directory of part files with `rows_per_file` rows each, but the last."""

    is_seen_at_once = False

    def __init__(self, target: Target, output: OutputDirectory) -> None:
        self._target, self._output = target, output
        self._meta: VectorMeta | None = None
        self._writer: Writer | None = None
        self._rows = self._parts = 0

    def begin(self, meta: VectorMeta) -> None:
        self._meta = meta

    def write(self, finished: Finished) -> None:
        """Write rows, cut where a part is full."""
        start, count, most = 0, len(finished.rows), self._target.rows_per_file or 1
        while start < count or self._writer is None:
            if self._writer is None or self._rows == most:
                self._writer = self._next()
            step = min(count - start, most - self._rows)
            part = finished if step == count else _cut(finished, start, start + step)
            self._writer.write(part.rows, part.extra, part.vectors)
            self._rows += step
            start += step

    def prepare(self) -> Published:
        if self._writer is not None:
            self._writer.finish()
        return self._output.prepare()

    def publish(self) -> None:
        self._output.publish()

    def discard(self) -> None:
        self._output.discard()

    def _next(self) -> Writer:
        """Complete the part and open the next one."""
        assert self._meta is not None
        if self._writer is not None:
            self._writer.finish()
        ending = _ENDINGS[formats.output_compression(self._target.path)]
        name = f"part-{self._parts:05d}.{self._target.format_name}{ending}"
        self._parts += 1
        self._rows = 0
        return _writer(self._target, self._output.part(name), self._meta)


def _writer(target: Target, sink: Sink, meta: VectorMeta) -> Writer:
    compression = formats.output_compression(target.path)
    return formats.writer(target.format_name, sink, meta, target.write, compression)


def _cut(finished: Finished, start: int, end: int) -> Finished:
    return finished._replace(
        rows=finished.rows.take(range(start, end)),
        extra={name: column[start:end] for name, column in finished.extra.items()},
        vectors=finished.vectors[start:end],
    )
