"""What one `tovec similarity` is to do, and the table of the modes in which it does it.

numpy stays out of this module: the mode decides how many threads numpy may start.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

from tovec.errors import UsageError

if TYPE_CHECKING:
    from tovec.events import Observer
    from tovec.formats.protocols import ReadOptions
    from tovec.pipeline.connect import Hide
    from tovec.pipeline.long_texts import LongTexts
    from tovec.search.compare import Matrix
    from tovec.search.metrics import Bound
    from tovec.search.scan import Picture
    from tovec.settings import Settings

Row = Mapping[str, object]
Metric = Literal["cosine", "dot", "euclidean"]


class Mode(StrEnum):
    """The modes. The value is how a message names one: the option that selects it, if one does."""

    TEXTS = "texts with each other"
    LINES = "lines of two texts"
    RANK = "a search"
    LABEL_EACH = "--label-each"
    PAIRS = "--pairs"
    OUTLIERS = "--outliers"
    DIVERSITY = "--diversity"
    CLUSTERS = "--clusters"


class Acting(StrEnum):
    """What acts in some modes and not in others. The value is how a message names it."""

    TEXTS = "a text"
    LIKE = "--like"
    QUERY_TEMPLATE = "--query-template"
    K = "-k"
    RESCORE = "--rescore"
    BOUNDS = "--min and --max"
    COLUMNS = "--columns"
    JOB_DIR = "--job-dir"
    PLOT = "--plot"


class Spec(NamedTuple):
    """One mode: the function that computes it, what acts in it, and what it returns."""

    function: str  # "module:function" of this room, imported once the mode is known
    acting: frozenset[Acting]
    result: tuple[str, ...] = ()  # names of a row's own values; () where the result is a matrix
    about: str = ""  # why other options do not act
    metrics: tuple[Metric, ...] = ()  # those that make sense; () for all
    parallel: bool = False  # large products, which all of OpenBLAS's threads compute fastest

    def load(self) -> Run:
        """Import the mode's function."""
        module, _, name = self.function.partition(":")
        run: Run = getattr(importlib.import_module(f"tovec.search.{module}"), name)
        return run


_ROWS = frozenset({Acting.COLUMNS, Acting.JOB_DIR})
_QUERIES = frozenset({Acting.TEXTS, Acting.QUERY_TEMPLATE, Acting.BOUNDS})
_DISTANCES: tuple[Metric, ...] = ("cosine", "euclidean")

MODES: Mapping[Mode, Spec] = {
    Mode.TEXTS: Spec(
        "compare:compare_texts",
        acting=frozenset({Acting.TEXTS, Acting.BOUNDS, Acting.PLOT}),
    ),
    Mode.LINES: Spec(
        "compare:compare_lines",
        acting=frozenset({Acting.BOUNDS}),
        result=("score", "a", "b"),
    ),
    Mode.RANK: Spec(
        "scan:rank",
        acting=_ROWS | _QUERIES | {Acting.LIKE, Acting.K, Acting.RESCORE, Acting.PLOT},
        result=("query", "rank", "score", "row"),
    ),
    Mode.LABEL_EACH: Spec(
        "scan:label_each",
        acting=_ROWS | _QUERIES,
        result=("row", "label", "score"),
        about="gives every row",
        parallel=True,
    ),
    Mode.PAIRS: Spec(
        "exploring:pairs",
        acting=_ROWS | {Acting.K, Acting.BOUNDS},
        result=("score", "row", "other"),
        parallel=True,
    ),
    Mode.OUTLIERS: Spec(
        "exploring:outliers",
        acting=_ROWS | {Acting.K},
        result=("rank", "score", "row", "nearest"),
        parallel=True,
    ),
    Mode.DIVERSITY: Spec(
        "exploring:diversity",
        acting=frozenset({Acting.JOB_DIR}),
        result=("diversity", "metric", "rows"),
        about="gives one number for all rows",
        metrics=_DISTANCES,
        parallel=True,
    ),
    Mode.CLUSTERS: Spec(
        "exploring:clusters",
        acting=_ROWS | {Acting.K},
        result=("cluster", "score", "row"),
        metrics=_DISTANCES,
        parallel=True,
    ),
}
# Without --in there are no rows for these to act on.
ABOUT_ROWS = frozenset(Acting) - MODES[Mode.TEXTS].acting


class Queries(NamedTuple):
    """What rows are compared with: texts, files of texts, and rows named by their ids."""

    texts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    like: tuple[str, ...] = ()
    template: str | None = None  # of the texts

    @property
    def has_texts(self) -> bool:
        """Whether there is anything to embed."""
        return bool(self.texts or self.paths)


class Similarity(NamedTuple):
    """What one `tovec similarity` is to do."""

    settings: Settings
    environ: Mapping[str, str]
    queries: Queries
    read: ReadOptions
    long: LongTexts
    metric: Metric
    bound: Bound
    corpus: str | None = None
    k: int | None = None
    columns: tuple[str, ...] | None = None
    job_dir: str | None = None
    clusters: int = 1
    rescore: int | None = None  # times k: candidates found by their bits
    has_picture: bool = False  # whether the outcome is drawn


class Outcome(NamedTuple):
    """How many results passed, how many rows were left out, and what is shown at the end."""

    passed: int
    rejected: int = 0
    matrix: Matrix | None = None
    picture: Picture | None = None


Found = Generator[list[Row], None, Outcome]
Run = Callable[["Similarity", "Observer", "Hide"], Found]


class Findings:
    """Yields results as they are found; `outcome` is known when all have been."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self.outcome = Outcome(0)

    def __iter__(self) -> Iterator[list[Row]]:
        self.outcome = yield from self._found

    def close(self) -> None:
        """End the work, wherever it is."""
        self._found.close()


def select_mode(
    chosen: Sequence[Mode],
    used: Collection[Acting],
    metric: Metric,
    *,
    corpus: bool,
    piped: bool,
) -> Mode:
    """Return the mode that the command line asks for.

    `chosen` are the modes whose options are given, `used` is what else is given; `corpus` says
    whether there is --in, `piped` whether stdin may hold texts. Raises UsageError for what does
    not go together: nothing is ignored.
    """
    if corpus:
        if len(chosen) > 1:
            raise UsageError(f"{chosen[0]} and {chosen[1]} cannot be combined")
        mode = chosen[0] if chosen else Mode.RANK
    else:
        about_rows = [*chosen, *(one for one in used if one in ABOUT_ROWS)]
        if about_rows:
            raise UsageError(
                f"{about_rows[0]} is for the rows of a file", hint="name the file with --in FILE"
            )
        if Acting.TEXTS not in used and not piped:
            raise UsageError(
                "there is nothing to compare",
                hint="give two texts, or pipe in lines of two texts with a tab between them",
            )
        mode = Mode.TEXTS if Acting.TEXTS in used else Mode.LINES
    _check(mode, used, metric)
    return mode


def _check(mode: Mode, used: Collection[Acting], metric: Metric) -> None:
    spec = MODES[mode]
    for one in used:
        if one in spec.acting:
            continue
        if one == Acting.PLOT:
            raise UsageError(f"--plot draws texts with each other, or a search, not {mode}")
        if one in (Acting.TEXTS, Acting.LIKE, Acting.QUERY_TEMPLATE) and (
            Acting.TEXTS not in spec.acting
        ):
            raise UsageError(f"{mode} compares the rows with each other: it takes no texts")
        hint = f"{mode} {spec.about}" if spec.about else ""
        raise UsageError(f"{one} cannot be combined with {mode}", hint=hint)
    if spec.metrics and metric not in spec.metrics:
        raise UsageError(
            f"--metric {metric} cannot be combined with {mode}",
            hint=f"choose {' or '.join(spec.metrics)}",
        )
