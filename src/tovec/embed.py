"""`tovec embed`, put together: source -> rows -> requests -> vectors -> writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import NamedTuple

from tovec import formats
from tovec.errors import LaterError, TovecError
from tovec.events import Answered, Event, Note, Observer, Progress
from tovec.formats.protocols import ReadOptions, Sink, WriteOptions, Writer
from tovec.pipeline.connect import Connection, Hide, connect
from tovec.pipeline.long_texts import LongTexts
from tovec.pipeline.prepare import Preparation
from tovec.pipeline.retries import Retries
from tovec.pipeline.stream import embed_blocks
from tovec.records import Block
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
    with connect(work.settings, work.environ, retries, hide) as connection:
        preparation = Preparation(
            connection.client.limits.item_tokens,
            connection.count_text,
            long=work.long,
            id_field=work.read.id_field,
        )
        stored = _destination(work)
        try:
            if view is not None:
                writer = view()
            else:
                meta = connection.meta(work.dtype)
                compression = formats.output_compression(work.output)
                writer = formats.writer(format_name, stored, meta, work.write, compression)
            with writing(work.output or "-"):
                _write_rows(work, connection, preparation, writer, stored, progress)
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


def _destination(work: Embed) -> OutputFile | StandardOutput:
    if work.output in (None, "-"):
        return StandardOutput()
    return OutputFile(str(work.output), force=work.if_exists == "replace")


def _write_rows(
    work: Embed,
    connection: Connection,
    preparation: Preparation,
    writer: Writer,
    sink: Sink,
    progress: _Progress,
) -> None:
    embedded = embed_blocks(connection, _blocks(work), preparation, keep_partial=not sink.seekable)
    with closing(embedded):
        for finished in embedded:
            preparation.leave_out(finished.refused)
            writer.write(finished.rows, finished.extra, finished.vectors)
            progress.written += len(finished.rows)
            if sink.seekable:
                progress(Progress("writing", progress.written, None, 0, None, 0))
            else:
                sink.file.flush()  # what is answered is seen at once, as under `tail -f`


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


def _blocks(work: Embed) -> Iterator[Block]:
    if not work.texts:
        ours = () if work.output in (None, "-") else (str(work.output),)
        return formats.read(work.paths, work.read._replace(ours=ours))
    texts = [formats.argument(number, text) for number, text in enumerate(work.texts, 1)]
    return formats.from_texts(texts, work.read)
