"""What `tovec similarity` shows: rows of results, plain numbers, or texts with each other."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tovec.cli import heat
from tovec.cli.options import ResultForm
from tovec.cli.tables import Results, Row, as_json, cell_text, tsv_line, write_line
from tovec.cli.terminal import is_terminal
from tovec.search.task import MODES, Mode

if TYPE_CHECKING:
    from tovec.search.compare import Matrix
    from tovec.search.task import Similarity

OTHERS = ("row_", "other_", "nearest_")  # before a column's name, where a result has two rows
NUMBERS = {Mode.LINES: "score", Mode.DIVERSITY: "diversity"}  # shown alone in a pipe


def results_for(mode: Mode, work: Similarity, form: ResultForm | None, *, quiet: bool) -> Results:
    """Return what shows the rows of a mode, in the form asked for or in the one that suits.

    A table for people leaves out what they did not ask for: of a file's columns all but the id
    and the text, and the query where there is only one.
    """
    if form is None and mode in NUMBERS and (mode == Mode.LINES or not is_terminal()):
        return Numbers(NUMBERS[mode], quiet=quiet)
    form = form or ("table" if is_terminal() else "tsv")
    if form != "table" or work.columns is not None or mode == Mode.LINES:
        return Results(form, quiet=quiet)
    queries = work.queries
    only = (work.read.id_field or "id", *work.read.text_fields)
    prefixed = [f"{prefix}{name}" for name in only for prefix in OTHERS]
    single = len(queries.texts) + len(queries.like) == 1 and not queries.paths
    return Results(
        form,
        quiet=quiet,
        only=only,
        beside=(*MODES[mode].result, *prefixed),
        drop=("query",) if single else (),
    )


class Numbers(Results):
    """A number a line, and nothing else."""

    def __init__(self, name: str, *, quiet: bool) -> None:
        super().__init__("tsv", quiet=quiet)
        self._name = name

    def __call__(self, rows: Sequence[Row]) -> None:
        """Write the rows' numbers."""
        if not self._quiet:
            sys.stdout.write("".join(cell_text(row[self._name]) + "\n" for row in rows))
            sys.stdout.flush()


def show_matrix(matrix: Matrix, form: ResultForm | None) -> None:
    """Show the scores of texts with each other: two give one number."""
    if len(matrix.names) == 2:
        _show_pair(matrix, form)
        return
    texts = matrix.names
    match form or ("table" if is_terminal() else "tsv"):
        case "table":
            heat.matrix(texts, matrix.whole(), matrix.metric)
        case "tsv":
            write_line(tsv_line(["", *texts]))
            for name, scores in _rows(matrix):
                write_line(tsv_line([name, *map(cell_text, scores)]))
        case "jsonl":
            for name, scores in _rows(matrix):
                write_line(as_json({"text": name, "scores": scores}))
        case _:
            facts = {"metric": matrix.metric, "model": matrix.model, "texts": texts}
            write_line(as_json({**facts, "scores": [scores for _, scores in _rows(matrix)]}))


def _show_pair(matrix: Matrix, form: ResultForm | None) -> None:
    score = matrix.pair()
    if form is None and not is_terminal():
        write_line(cell_text(score))
    elif form in (None, "table"):
        heat.pair(cell_text(score), matrix.metric, matrix.model)
    else:
        results = Results(form or "tsv")
        results([{"score": score, "a": matrix.names[0], "b": matrix.names[1]}])
        results.finish()


def _rows(matrix: Matrix) -> Iterator[tuple[str, list[float]]]:
    """Yield each text with its scores; only some rows are computed at once."""
    rows = (row.tolist() for block in matrix.blocks() for row in block)
    return zip(matrix.names, rows, strict=True)
