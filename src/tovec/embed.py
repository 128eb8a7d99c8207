"""`tovec embed`, put together: source -> rows -> requests -> vectors -> writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from tovec import formats
from tovec.errors import LaterError, TovecError
from tovec.events import Answered, Event, Note, Observer, Progress
from tovec.formats.protocols import ReadOptions, Sink, WriteOptions, Writer
from tovec.pipeline import stream
from tovec.pipeline.connect import Connection, Hide, connect
from tovec.pipeline.long_texts import LongTexts
from tovec.pipeline.packing import Packer
from tovec.pipeline.prepare import Preparation
from tovec.pipeline.reorder import Finished, Prepared
from tovec.pipeline.retries import Retries
from tovec.records import Block, Problem, Rows
from tovec.settings import Settings
from tovec.store.collisions import check_collisions
from tovec.store.durable import OutputFile, StandardOutput, writing
from tovec.wording import count_phrase


class Embed(NamedTuple):
    """What one `tovec embed` is to do."""

    settings: Settings
    environ: Mapping[str, str]
    texts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ("-",)
    read: ReadOptions = ReadOptions()
    long: LongTexts = LongTexts()
    output: str | None = None  # None or "-": stdout
    format: str | None = None
    dtype: str = "float32"
    write: WriteOptions = WriteOptions()
    if_exists: str = "error"  # or "skip", "replace"


def run(
    work: Embed,
    observer: Observer,
    hide: Hide,
    view: Callable[[], Writer] | None = None,
) -> Preparation:
    """Embed everything; give the counts of what was done.

    `view`, where stdout is a terminal, makes the writer that shows rows instead of storing them.
    Raises whatever stops the run; the output file then does not appear. On stdout, the rows that
    were answered by then are written, as far as they go in input order.
    """
    format_name = formats.output_format(work.output, work.format)
    side_file = f"{work.output}.json" if format_name == "npy" else None
    reads = () if work.texts else work.paths
    check_collisions({"the output": work.output, "its side file": side_file}, reads)
    progress = _Progress(observer)
    retries = Retries(progress)
    connection = connect(work.settings, work.environ, retries, hide)
    limit = connection.client.limits.item_tokens
    preparation = Preparation(
        limit, connection.count_text, long=work.long, id_field=work.read.id_field
    )
    sink: Sink
    stored: OutputFile | StandardOutput
    stored = sink = (
        StandardOutput()
        if work.output in (None, "-")
        else OutputFile(str(work.output), force=work.if_exists == "replace")
    )
    try:
        if view is not None:
            writer = view()
        else:
            meta = connection.meta(work.dtype)
            compression = formats.output_compression(work.output)
            writer = formats.writer(format_name, sink, meta, work.write, compression)
        with writing(work.output or "-"):
            _stream(work, connection, preparation, writer, sink, progress)
            writer.finish()
        stored.commit()
    except BaseException as error:
        stored.discard()
        retries.report()
        _explain(error, work, connection, progress)
        raise
    retries.report()
    for note in preparation.notes():
        observer(Note(note))
    return preparation


class _Progress:
    """An observer that counts the answers that came and the rows that were written."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.answered = 0  # inputs
        self.written = 0  # rows

    def __call__(self, event: Event) -> None:
        """Count an event and pass it on."""
        if isinstance(event, Answered):
            self.answered += event.items
        self._observer(event)


def _explain(
    error: BaseException, work: Embed, connection: Connection, progress: _Progress
) -> None:
    """Say what a run that stops has written, and what would have kept its answers."""
    remote = not connection.provider.in_process
    advice = "`tovec batch` keeps what it receives, and resumes"
    if isinstance(error, LaterError) and remote:
        error.hint = "; ".join(part for part in (error.hint, advice) if part)
    stopped = isinstance(error, KeyboardInterrupt)
    if not stopped and (not progress.answered or not isinstance(error, TovecError)):
        return  # nothing is lost; or nobody reads what would be written
    if work.output in (None, "-"):
        said = f"stopped: {count_phrase(progress.written, 'row')} written"
    else:
        said = f"stopped: no row written, since {work.output} appears only when it is whole"
    if remote and not isinstance(error, LaterError):
        said += f"; {advice}"
    progress(Note(said, "warning" if remote else "info"))


def _stream(
    work: Embed,
    connection: Connection,
    preparation: Preparation,
    writer: Writer,
    sink: Sink,
    progress: _Progress,
) -> None:
    blocks = _blocks(work)
    client = connection.client
    packer = Packer(lambda: client.limits)
    written = False
    nothing: Rows | None = None  # rows of the input's kind, none of them

    def prepare(block: Block) -> Prepared:
        nonlocal nothing
        if nothing is None:
            nothing = block.rows.take([])
        return preparation(block)

    def write(finished: Finished) -> None:
        for source, line, reason in finished.refused:
            preparation.reject(Problem(source, line, -1, reason, "refused"))
        nonlocal written
        written = True
        writer.write(finished.rows, finished.extra, finished.vectors)
        if not sink.seekable:
            sink.file.flush()  # what is answered is seen at once, as under `tail -f`
        progress.written += len(finished.rows)
        if sink.seekable:
            progress(Progress("writing", progress.written, None, 0, None, 0))

    stream.through(connection, blocks, prepare, packer, write, keep_partial=not sink.seekable)
    if not written and nothing is not None:
        # An empty output still says what its columns are.
        none = np.zeros((0, connection.dimensions or 0), np.float32)
        writer.write(nothing, preparation.no_extra, none)


def _blocks(work: Embed) -> Iterator[Block]:
    if not work.texts:
        ours = () if work.output in (None, "-") else (str(work.output),)
        return formats.read(work.paths, work.read._replace(ours=ours))
    texts = [formats.argument(number, text) for number, text in enumerate(work.texts, 1)]
    return formats.from_texts(texts, work.read)
