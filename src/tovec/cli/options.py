"""The options that commands share, declared once, in the groups in which help shows them.

An option of one command alone stands beside that command. How groups become a command's signature
is `cli.signatures`, what is made of their values `cli.arguments`. The ranges of the endpoint's
numbers are `settings.RANGES`.
"""

from typing import Annotated, Literal, NamedTuple

from tovec.cli.signatures import argument, group, option

IfExists = Literal["error", "skip", "replace"]
ProgressKind = Literal["auto", "bar", "lines", "none"]
ListingForm = Literal["table", "json", "tsv"]
ResultForm = Literal["table", "json", "jsonl", "tsv"]


@group("General")
class Common(NamedTuple):
    """What every command takes."""

    verbose: Annotated[
        int,
        option(
            "-v, --verbose", "Log more; -vv logs each request too, never keys or texts.", count=True
        ),
    ] = 0
    quiet: Annotated[bool, option("-q, --quiet", "Print only errors.")] = False
    color: Annotated[
        Literal["auto", "always", "never"] | None,
        # Eager, because help, which is eager, asks for it.
        option("--color", "Colour on a terminal (NO_COLOR is honoured).", is_eager=True),
    ] = None
    config: Annotated[
        str | None, option("--config FILE", "Read settings from FILE instead of the usual place.")
    ] = None
    log_format: Annotated[
        Literal["text", "json"] | None,
        option("--log-format", "Format of messages on stderr."),
    ] = None


@group("Endpoint")
class EndpointOptions(NamedTuple):
    """Which endpoint and model are asked, and how."""

    provider: Annotated[
        str | None,
        option(
            "-p, --provider NAME",
            "Provider to use: openai, aimlapi, aivene, nugen, local, onnx, model2vec, ...",
        ),
    ] = None
    model: Annotated[
        str | None,
        option(
            "-m, --model ID",
            "The model, or its folder (onnx, model2vec); most providers have a default.",
        ),
    ] = None
    base_url: Annotated[
        str | None, option("--base-url URL", "An OpenAI-compatible server; /embeddings is added.")
    ] = None
    url: Annotated[
        str | None, option("--url URL", "The full address that requests are posted to.")
    ] = None
    dimensions: Annotated[
        int | None, option("-d, --dimensions N", "Ask for vectors of N dimensions.")
    ] = None
    encoding_format: Annotated[
        str | None,
        option(
            "--encoding-format base64|float",
            "Encoding of vectors in responses (detected by default).",
        ),
    ] = None
    user: Annotated[
        str | None,
        option("--user ID", "An identifier of the end user, passed on to the endpoint."),
    ] = None
    prompt: Annotated[
        str | None,
        option(
            "--prompt NAME|TEXT",
            "Prompt that a local model reads before each text: query, passage or another "
            "prompt that its folder names, a text, or none.",
        ),
    ] = None
    extra: Annotated[
        list[str] | None,
        option(
            "--extra KEY=VALUE",
            "An extra field of each request, such as input_type=passage.",
        ),
    ] = None
    timeout: Annotated[float | None, option("--timeout SECONDS", "Time limit of one attempt.")] = (
        None
    )
    max_retries: Annotated[
        int | None, option("--max-retries N", "Maximum retries of one request.")
    ] = None
    give_up_after: Annotated[
        float | None,
        option(
            "--give-up-after SECONDS",
            "Give up after this long without a success (900); also caps server-requested waits.",
        ),
    ] = None
    concurrency: Annotated[int | None, option("--concurrency N", "Maximum requests at once.")] = (
        None
    )
    rpm: Annotated[int | None, option("--rpm N", "Maximum requests per minute.")] = None
    tpm: Annotated[int | None, option("--tpm N", "Maximum tokens per minute.")] = None


@group("Input")
class TextInputs(NamedTuple):
    """Texts on the command line, and files of them."""

    texts: Annotated[list[str] | None, argument("[TEXT]...", "Texts, as arguments.")] = None
    file: Annotated[
        list[str] | None,
        option("-f, --file PATH", "Read rows from PATH (- is stdin); may be repeated."),
    ] = None


@group("Input")
class InputOptions(NamedTuple):
    """How rows are read and what of them is embedded."""

    input_format: Annotated[
        str,
        option(
            "--input-format auto|lines|text|jsonl|json|csv|tsv|parquet|arrow|tokens",
            "By the file's extension by default, else lines. text: a whole file is one text; "
            "json: an array, or values one after the other; arrow: Arrow IPC, Feather; "
            "tokens: each line is a JSON array of token ids.",
        ),
    ] = "auto"
    null: Annotated[
        bool, option("-0, --null", "Texts are separated by NUL bytes, not by newlines.")
    ] = False
    text_field: Annotated[
        str | None,
        option(
            "--text-field NAME,...",
            "Field(s) to embed (text), doc.text inside an object; joined with line breaks.",
        ),
    ] = None
    template: Annotated[
        str | None,
        option(
            "--template TEXT",
            'How to build a text from fields: "{title}\\n{body}", or "query: {text}". '
            "Plain texts have the fields index and text, whole files path too.",
        ),
    ] = None
    id_field: Annotated[str | None, option("--id-field NAME", "The field that names a row.")] = None
    encoding: Annotated[
        str | None, option("--encoding NAME", "The input's character encoding (utf-8).")
    ] = None
    encoding_errors: Annotated[
        str | None,
        option(
            "--encoding-errors strict|replace",
            "What to do with bytes that are invalid in the encoding (strict).",
        ),
    ] = None
    glob: Annotated[
        str | None,
        option(
            "--glob PATTERN",
            "In a directory, read only files whose name matches, such as '*.md'.",
        ),
    ] = None
    csv_types: Annotated[
        str | None,
        option(
            "--csv-types auto|text",
            "Find the columns' types in the first MiB (auto), or keep them as text.",
        ),
    ] = None
    delimiter: Annotated[
        str | None,
        option(
            "--delimiter CHARACTER",
            "Field separator of CSV (a comma) and TSV (a tab).",
        ),
    ] = None
    no_header: Annotated[
        bool, option("--no-header", "CSV and TSV without a header: the columns are c1, c2, ...")
    ] = False
    csv_quoting: Annotated[
        str | None,
        option(
            "--csv-quoting quotes|backslash",
            'How CSV and TSV fields are escaped: in quotes (quotes), or with "\\t", "\\n" and '
            '"\\N" as psql\'s COPY and mysql --batch write them (backslash).',
        ),
    ] = None
    long: Annotated[
        Literal["error", "truncate", "split", "mean"],
        option(
            "--long",
            "What to do with a text over the model's limit (error). split: a row a chunk; "
            "mean: the chunks' mean, by tokens.",
        ),
    ] = "error"
    chunk_tokens: Annotated[
        int | None,
        option(
            "--chunk-tokens N", "With --long: cut at N tokens instead of the model's limit.", min=1
        ),
    ] = None
    overlap: Annotated[
        int,
        option(
            "--overlap N",
            "With --long split or mean: about N tokens shared by neighbouring chunks.",
            min=0,
        ),
    ] = 0


@group("Output")
class OutputOptions(NamedTuple):
    """Where vectors go and in what form."""

    output: Annotated[
        str | None,
        option("-o, --output PATH", "Write to PATH (- is stdout); it appears whole or not at all."),
    ] = None
    format: Annotated[
        str | None,
        option(
            "--format jsonl|parquet|npy",
            "By default by PATH's extension (.jsonl.gz, .jsonl.zst are compressed); jsonl "
            "on stdout.",
        ),
    ] = None
    dtype: Annotated[
        Literal["float32", "float16", "int8", "uint8", "binary", "ubinary"],
        option(
            "--dtype",
            "The type of the stored numbers (float32); binary and ubinary are one bit per "
            "dimension.",
        ),
    ] = "float32"
    also: Annotated[
        Literal["binary", "ubinary"] | None,
        option("--also", "Store the vectors a second time, as bits: similarity --rescore."),
    ] = None
    parquet_list: Annotated[
        Literal["fixed", "plain"] | None,
        option(
            "--parquet-list",
            "The type of Parquet's column of vectors: lists fixed in size (fixed), or for readers "
            "that do not know these, of any size (plain).",
        ),
    ] = None
    truncate_dim: Annotated[
        int | None,
        option(
            "--truncate-dim N",
            "Store the first N dimensions, normalised again (Matryoshka models).",
            min=1,
        ),
    ] = None
    force_truncate: Annotated[
        bool,
        option("--force-truncate", "Truncate the vectors of other models too."),
    ] = False
    columns: Annotated[
        str | None,
        option("--columns NAME,...", "The input's columns to keep, in this order; all by default."),
    ] = None
    if_exists: Annotated[
        IfExists | None,
        option(
            "--if-exists",
            "When the output exists: fail with exit 7 (error), do nothing, or replace it.",
        ),
    ] = None
    force: Annotated[bool, option("--force", "The same as --if-exists replace.")] = False


@group("Job")
class JobActions(NamedTuple):
    """What a batch does instead of running, or on the way."""

    dry_run: Annotated[
        bool, option("--dry-run", "Count rows, tokens, requests and cost; send nothing.")
    ] = False
    status: Annotated[
        bool, option("--status", "Show how far the job is, when it began and why it stopped.")
    ] = False
    repair: Annotated[
        bool,
        option(
            "--repair", "Move damaged parts of the job's log aside and request their rows again."
        ),
    ] = False


@group("Job")
class JobOptions(NamedTuple):
    """How a job is kept, limited and reported."""

    job_dir: Annotated[
        str | None,
        option("--job-dir DIR", "Directory that stores received vectors (OUTPUT.tovec)."),
    ] = None
    keep_job: Annotated[
        bool,
        option(
            "--keep-job",
            "Keep the vectors for the next run, which then pays for changed rows only.",
        ),
    ] = False
    max_cost: Annotated[
        float | None, option("--max-cost USD", "Stop before the job costs more.", min=0)
    ] = None
    max_tokens: Annotated[
        int | None, option("--max-tokens N", "Stop before the job uses more tokens.", min=1)
    ] = None
    on_error: Annotated[
        Literal["reject", "stop"],
        option("--on-error", "What to do with a bad row: reject it, or stop."),
    ] = "reject"
    rejects: Annotated[
        str | None, option("--rejects FILE", "Where rejected rows go (OUTPUT.rejects.jsonl).")
    ] = None
    rows_per_file: Annotated[
        int | None,
        option(
            "--rows-per-file N", "Write part files of N rows; OUTPUT is then a directory.", min=1
        ),
    ] = None
    verify: Annotated[
        str | None,
        option(
            "--verify SHARE",
            "At the end request this share of the texts again (0.1%) and compare; exit 3 where a "
            "cosine is below 0.999.",
        ),
    ] = None
    int8_scale: Annotated[
        Literal["unit", "dimension"] | None,
        option(
            "--int8-scale",
            "What int8 and uint8 stand for: round(127 x) (unit), or 255 steps from each "
            "dimension's least value to its greatest.",
        ),
    ] = None
    stats: Annotated[str | None, option("--stats FILE", "Write a report as JSON to FILE.")] = None
    progress: Annotated[
        ProgressKind,
        option("--progress", "A bar on a terminal, a line per minute elsewhere (auto)."),
    ] = "auto"


@group("Listing")
class ListingOptions(NamedTuple):
    """How rows of facts are shown."""

    format: Annotated[
        ListingForm,
        option("--format", "Output format.", show_default=True),
    ] = "table"
