"""What `tovec similarity --in FILE` looks at: the corpus opened, and the queries embedded."""

from __future__ import annotations

import atexit
import os
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import orjson

from tovec import formats
from tovec.errors import UsageError
from tovec.events import Note, Observer
from tovec.formats.applicability import check_stored
from tovec.pipeline.complete import preparation
from tovec.pipeline.connect import Connection, Hide, connect
from tovec.pipeline.prepare import Preparation
from tovec.pipeline.reorder import Finished
from tovec.records import Block
from tovec.search import corpus
from tovec.search.embedding import Texts, embed_rows, embed_texts, given
from tovec.search.task import Similarity
from tovec.search.vector_files.gathered import Gathered
from tovec.search.vector_files.open_vectors import open_stored
from tovec.search.vector_files.stored import Stored


class Opened(NamedTuple):
    """A corpus with its vectors, how many of its rows were left out, and its queries."""

    stored: Stored
    rejected: int
    queries: Texts


def open_corpus(work: Similarity, observer: Observer, hide: Hide) -> Opened:
    """Return the corpus that --in names, with its queries, whatever of them has to be embedded."""
    stored, rejected = open_stored_corpus(work, observer, hide)
    if stored is not None:
        return Opened(stored, rejected, embed_queries(stored, work, observer, hide))
    queries = Texts()
    gathered = Gathered("standard input" if work.corpus == "-" else str(work.corpus))
    with connect(work.settings, work.environ, observer, hide) as connection:
        prepare = preparation(connection, work.long)
        for finished in embed_corpus(connection, work, prepare, queries):
            fields = [orjson.dumps(one) for one in corpus.fields_of(finished.rows)]
            gathered.add(finished.vectors, fields, finished.rows.index)
        say_left_out(prepare, observer)
    return Opened(gathered, prepare.rejected, queries)


def open_stored_corpus(
    work: Similarity, observer: Observer, hide: Hide
) -> tuple[Stored | None, int]:
    """Return the corpus if it is a file of vectors, or a job keeps those of its texts."""
    path = str(work.corpus)
    stored = None if path == "-" else open_stored(path, work.read.glob)
    _check_options(work, stored is not None)
    if stored is None and work.job_dir is not None:
        return _through_job(work, observer, hide)
    return stored, 0


def embed_queries(stored: Stored, work: Similarity, observer: Observer, hide: Hide) -> Texts:
    """Return the queries of stored vectors, embedded with the model that made those."""
    if not work.queries.has_texts:
        return Texts()
    settings = corpus.settings_for(stored, work.settings)
    with connect(settings, work.environ, observer, hide) as connection:
        model = connection.client.endpoint.model
        corpus.check_model(stored, model)
        prepare = preparation(connection, work.long)
        queries = embed_texts(connection, query_blocks(work), prepare, work.read.id_field)
        say_left_out(prepare, observer)
    if queries.names:
        queries.replace(corpus.match_queries(stored, queries.vectors))
        corpus.check_dimensions(stored, queries.vectors, model)
    return queries


def query_blocks(work: Similarity) -> Iterator[Block]:
    """Return the texts that rows are compared with, as blocks to embed.

    --text-field and --id-field are about the rows; a template holds for both, unless the queries
    have their own.
    """
    queries = work.queries
    read = work.read._replace(plain_as_text=True, given=frozenset())
    if queries.template is not None:
        option = "--query-template"
        read = read._replace(
            template=queries.template, template_option=option, given=frozenset((option,))
        )
    return given(queries.texts, queries.paths, read)


def embed_corpus(
    connection: Connection, work: Similarity, prepare: Preparation, queries: Texts
) -> Iterator[Finished]:
    """Yield the rows of a corpus of texts with their vectors; `queries` are taken before."""
    rows = formats.read((str(work.corpus),), work.read._replace(given=frozenset()))
    texts = query_blocks(work)
    return embed_rows(connection, rows, prepare, queries, texts, work.read.id_field)


def say_left_out(prepare: Preparation, observer: Observer) -> None:
    """Report the rows that were left out, if there are any."""
    for note in prepare.notes():
        observer(Note(note))


def _check_options(work: Similarity, stored: bool) -> None:
    """Raise UsageError for an option about texts that acts neither on the rows nor the queries."""
    read = work.read
    if stored and work.job_dir is not None:
        raise UsageError("--job-dir keeps the vectors of texts, but --in names stored vectors")
    if not stored:
        formats.check_given((str(work.corpus), *work.queries.paths), read)
        return
    if work.queries.paths:
        formats.check_given(work.queries.paths, read)
    else:
        directory = os.path.isdir(str(work.corpus))  # noqa: PTH112 - a path as it was given
        check_stored(read.given - {"--glob"} if directory else read.given)
    if read.template is not None and (
        work.queries.template is not None or not work.queries.has_texts
    ):
        raise UsageError(
            "--template makes texts of rows, but --in names stored vectors",
            hint="--query-template is for the texts that they are compared with",
        )


def _through_job(work: Similarity, observer: Observer, hide: Hide) -> tuple[Stored, int]:
    """Return a corpus of texts whose vectors a job keeps, so that the next search reuses them."""
    from tovec.batch.run import run
    from tovec.batch.specification import Batch
    from tovec.pipeline.destination import Target

    place = tempfile.TemporaryDirectory(prefix="tovec-")
    atexit.register(place.cleanup)
    target = f"{place.name}/corpus.parquet"
    done = run(
        Batch(
            settings=work.settings,
            environ=work.environ,
            paths=(str(work.corpus),),
            target=Target(target),
            read=work.read,
            long=work.long,
            job_dir=work.job_dir,
            keep_job=True,
        ),
        observer,
        hide,
    )
    kept = f"vectors of the corpus: {done.reused:,} stored before, {done.asked:,} requested"
    observer(Note(kept, "info"))
    stored = open_stored(target)
    assert stored is not None
    return stored, done.rejected


def explain_missing_texts(work: Similarity, stored: Stored, observer: Observer) -> None:
    """Report why results have no texts, and how to get them, where the file stores none."""
    if stored.has_columns or work.columns is not None:
        return
    said = f"{stored.source} stores no texts: results have the rows' numbers and ids"
    observer(Note(f"{said}; .parquet and .jsonl keep the texts", "summary"))
