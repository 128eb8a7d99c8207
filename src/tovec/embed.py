"""`tovec embed`, put together: source -> rows -> requests -> vectors -> writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import NamedTuple

from tovec import formats
from tovec.errors import LaterError, TovecError
from tovec.events import Answered, Event, Note, Observer, Progress
from tovec.formats.protocols import ReadOptions, Writer
from tovec.pipeline.connect import Connection, Hide, connect
from tovec.pipeline.destination import STDOUT, Destination, Target, open_destination
from tovec.pipeline.long_texts import LongTexts
from tovec.pipeline.number_types import check_number_types
from tovec.pipeline.prepare import Preparation
from tovec.pipeline.retries import Retries
from tovec.pipeline.stream import embed_blocks
from tovec.records import Block
from tovec.settings import Settings
from tovec.store.collisions import check_collisions
from tovec.store.durable import writing
from tovec.wording import count_phrase


class Embed(NamedTuple):
    """What one `tovec embed` is to do."""

    settings: Settings
    environ: Mapping[str, str]
    texts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ("-",)
    read: ReadOptions = ReadOptions()
    long: LongTexts = LongTexts()
    target: Target = Target()
    if_exists: str = "error"  # or "skip", "replace"


def run(
    work: Embed,
    observer: Observer,
    hide: Hide,
    view: Callable[[], Writer] | None = None,
) -> Preparation:
    """Embed everything; return the counts of what was done.

    `view`, where stdout is a terminal, makes the writer that shows rows instead of storing them.
    Raises whatever stops the run; the output file then does not appear. On stdout, the rows that
    were answered by then are written, as far as they go in input order.
    """
    target = work.target
    reads = () if work.texts else work.paths
    check_collisions({"the output": target.path, "its side file": target.side_file}, reads)
    progress = _Progress(observer)
    retries = Retries(progress)
    with connect(work.settings, work.environ, retries, hide) as connection:
        check_number_types(target, connection, observer)
        preparation = Preparation(
            connection.client.limits.item_tokens,
            connection.count_text,
            long=work.long,
            id_field=work.read.id_field,
        )
        destination = open_destination(target, force=work.if_exists == "replace", view=view)
        try:
            with writing(target.path):
                destination.begin(connection.meta(target.dtype))
                _write_rows(work, connection, preparation, destination, progress)
                destination.prepare()
            destination.publish()
        except BaseException as error:
            destination.discard()
            retries.report()
            _explain(error, work, connection, progress)
            raise
    retries.report()
    for note in preparation.notes():
        observer(Note(note))
    return preparation


def _write_rows(
    work: Embed,
    connection: Connection,
    preparation: Preparation,
    destination: Destination,
    progress: _Progress,
) -> None:
    is_seen = destination.is_seen_at_once
    embedded = embed_blocks(connection, _blocks(work), preparation, keep_partial=is_seen)
    with closing(embedded):
        for finished in embedded:
            preparation.leave_out(finished.refused)
            destination.write(finished)
            progress.written += len(finished.rows)
            if not is_seen:
                progress(Progress("writing", progress.written, None, 0, None, 0))


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
    if work.target.path == STDOUT:
        said = f"stopped: {count_phrase(progress.written, 'row')} written"
    else:
        said = f"stopped: no row written; {work.target.path} appears only once it is complete"
    if remote and not isinstance(error, LaterError):
        said += f"; {advice}"
    progress(Note(said, "warning" if remote else "info"))


def _blocks(work: Embed) -> Iterator[Block]:
    if not work.texts:
        ours = () if work.target.path == STDOUT else (work.target.path,)
        return formats.read(work.paths, work.read._replace(ours=ours))
    texts = [formats.argument(number, text) for number, text in enumerate(work.texts, 1)]
    return formats.from_texts(texts, work.read)
