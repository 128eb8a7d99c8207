"""The options of `tovec similarity` alone: what is searched, how it is compared and shown."""

from typing import Annotated, NamedTuple

from tovec.cli.options import ResultForm
from tovec.cli.signatures import group, option
from tovec.search.task import Metric, Mode


@group("Search")
class SearchOptions(NamedTuple):
    """The rows that `similarity --in` looks at, and what it does with them: `search.task.MODES`."""

    corpus: Annotated[
        str | None,
        option(
            "--in PATH",
            "Rank the rows of PATH against each text: texts (- is stdin), or vectors that "
            "tovec stored (.npy, .parquet, .jsonl); their model then embeds the texts.",
        ),
    ] = None
    job_dir: Annotated[
        str | None,
        option(
            "--job-dir DIR",
            "Keep the vectors of a corpus of texts in DIR: the next search requests new rows only.",
        ),
    ] = None
    query_template: Annotated[
        str | None,
        option(
            "--query-template TEXT",
            'How to build the query texts, such as "query: {text}"; '
            "without it, --template applies to them too.",
        ),
    ] = None
    k: Annotated[
        int | None,
        option(
            "-k N",
            "The N nearest rows to each text (10; all that pass, with --min or --max).",
            min=1,
        ),
    ] = None
    rescore: Annotated[
        int | None,
        option(
            "--rescore K",
            "Find K times as many rows by their bits and score these by their vectors: faster, "
            "but some are missed, fewer with a larger K (--also ubinary stores bits).",
            min=1,
        ),
    ] = None
    like: Annotated[
        list[str] | None,
        option(
            "--like ID",
            "Recommend: the rows nearest to row ID (its id, or its number); may be repeated.",
        ),
    ] = None
    label_each: Annotated[
        bool,
        option("--label-each", "Classify: the texts are labels, each row gets the nearest."),
    ] = False
    pairs: Annotated[
        bool,
        option(
            "--pairs",
            "Find near-duplicates: the rows nearest to each other; limit them with --min 0.95.",
        ),
    ] = False
    outliers: Annotated[
        bool,
        option("--outliers", "Detect anomalies: the -k rows least like their nearest neighbours."),
    ] = False
    diversity: Annotated[
        bool,
        option("--diversity", "Measure diversity: the mean distance of two rows (1 - cosine)."),
    ] = False
    clusters: Annotated[
        int | None,
        option(
            "--clusters N",
            "Cluster the rows into N groups, most typical rows first; -k of each.",
            min=1,
        ),
    ] = None

    @property
    def modes(self) -> list[Mode]:
        """The modes whose options are given."""
        given = self._asdict()
        return [mode for mode in Mode if given.get(mode.strip("-").replace("-", "_"))]


@group("Comparison")
class ComparisonOptions(NamedTuple):
    """How two vectors are compared, and which results count."""

    metric: Annotated[
        Metric,
        option(
            "--metric",
            "How two vectors are compared; euclidean is a distance: less is nearer.",
            show_default=True,
        ),
    ] = "cosine"
    least: Annotated[
        float | None,
        option("--min SCORE", "Only scores of at least SCORE; exit 1 if there are none."),
    ] = None
    most: Annotated[
        float | None,
        option("--max DISTANCE", "With --metric euclidean: only distances of at most DISTANCE."),
    ] = None


@group("Output")
class ResultOptions(NamedTuple):
    """How the results of `similarity` are shown."""

    plot: Annotated[
        str | None,
        option(
            "--plot FILE.png|svg",
            "Also draw a picture: a heat map of the texts, or with --in a map of the rows with "
            "the hits marked (needs the extra plot).",
        ),
    ] = None
    force: Annotated[bool, option("--force", "Replace a picture that exists.")] = False
    columns: Annotated[
        str | None,
        option(
            "--columns NAME,...",
            "The rows' columns to show; all by default, on a terminal id and text.",
        ),
    ] = None
    format: Annotated[
        ResultForm | None,
        option("--format", "By default a table on a terminal, else plain numbers or tsv."),
    ] = None
