"""Every option, declared once, in the groups in which help, man pages and completions show them.

A command takes a group by a parameter of that group's type; `flattened` spreads the group's
fields into the signature that Typer reads and gathers them again when the command is called.
"""

import inspect
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_type_hints

import typer

from tovec import settings
from tovec.cli.reporting import Reporter
from tovec.errors import UsageError
from tovec.formats.protocols import ReadOptions
from tovec.settings import Settings

if TYPE_CHECKING:
    from tovec.pipeline.long_texts import LongTexts

GENERAL = "General"
ENDPOINT = "Endpoint"
INPUT = "Input"
OUTPUT = "Output"
JOB = "Job"


def _option(*names: str, help: str, panel: str, **more: Any) -> Any:  # noqa: A002 - Typer's word
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False, **more)


class Common(NamedTuple):
    """What every command takes."""

    verbose: Annotated[
        int,
        _option(
            "--verbose",
            "-v",
            count=True,
            panel=GENERAL,
            help="Say more; twice for the wire, without key and text.",
        ),
    ] = 0
    quiet: Annotated[
        bool, _option("--quiet", "-q", panel=GENERAL, help="Say nothing but errors.")
    ] = False
    color: Annotated[
        str | None,
        _option(
            "--color",
            metavar="auto|always|never",
            is_eager=True,  # help, which is eager, asks for it
            panel=GENERAL,
            help="Colour on a terminal (NO_COLOR is honoured).",
        ),
    ] = None
    config: Annotated[
        str | None,
        _option(
            "--config",
            metavar="FILE",
            panel=GENERAL,
            help="Read settings from FILE instead of the usual place.",
        ),
    ] = None
    log_format: Annotated[
        str | None,
        _option(
            "--log-format",
            metavar="text|json",
            panel=GENERAL,
            help="How messages are written to stderr.",
        ),
    ] = None


class EndpointOptions(NamedTuple):
    """Who is asked, and how. The ranges of the numbers are `settings.RANGES`."""

    provider: Annotated[
        str | None,
        _option(
            "--provider",
            "-p",
            metavar="NAME",
            panel=ENDPOINT,
            help="Who is asked: openai, aimlapi, aivene, nugen, local, ...",
        ),
    ] = None
    model: Annotated[
        str | None,
        _option(
            "--model",
            "-m",
            metavar="ID",
            panel=ENDPOINT,
            help="The model; each provider has a default where one is sensible.",
        ),
    ] = None
    base_url: Annotated[
        str | None,
        _option(
            "--base-url",
            metavar="URL",
            panel=ENDPOINT,
            help="An OpenAI-compatible server; /embeddings is added.",
        ),
    ] = None
    url: Annotated[
        str | None,
        _option(
            "--url",
            metavar="URL",
            panel=ENDPOINT,
            help="The whole address that requests are posted to.",
        ),
    ] = None
    dimensions: Annotated[
        int | None,
        _option(
            "--dimensions",
            "-d",
            metavar="N",
            panel=ENDPOINT,
            help="Ask for vectors of N dimensions.",
        ),
    ] = None
    encoding_format: Annotated[
        str | None,
        _option(
            "--encoding-format",
            metavar="base64|float",
            panel=ENDPOINT,
            help="How vectors travel; found out by itself.",
        ),
    ] = None
    user: Annotated[
        str | None,
        _option(
            "--user",
            metavar="ID",
            panel=ENDPOINT,
            help="An identifier of the end user, passed on to the endpoint.",
        ),
    ] = None
    extra: Annotated[
        list[str] | None,
        _option(
            "--extra",
            metavar="KEY=VALUE",
            panel=ENDPOINT,
            help="A further field of the request, such as input_type=passage.",
        ),
    ] = None
    timeout: Annotated[
        float | None,
        _option(
            "--timeout",
            metavar="SECONDS",
            panel=ENDPOINT,
            help="How long one attempt may take.",
        ),
    ] = None
    max_retries: Annotated[
        int | None,
        _option(
            "--max-retries",
            metavar="N",
            panel=ENDPOINT,
            help="How often one request is tried again.",
        ),
    ] = None
    give_up_after: Annotated[
        float | None,
        _option(
            "--give-up-after",
            metavar="SECONDS",
            panel=ENDPOINT,
            help="How long to go on while nothing succeeds (900); also the longest wait obeyed.",
        ),
    ] = None
    concurrency: Annotated[
        int | None,
        _option(
            "--concurrency",
            metavar="N",
            panel=ENDPOINT,
            help="Requests under way at once, at most.",
        ),
    ] = None
    rpm: Annotated[
        int | None,
        _option("--rpm", metavar="N", panel=ENDPOINT, help="Requests a minute, at most."),
    ] = None
    tpm: Annotated[
        int | None,
        _option("--tpm", metavar="N", panel=ENDPOINT, help="Tokens a minute, at most."),
    ] = None


class InputOptions(NamedTuple):
    """Where rows come from and what of them is embedded."""

    input_format: Annotated[
        str,
        _option(
            "--input-format",
            metavar="auto|lines|text|jsonl|json|csv|tsv|parquet|arrow|tokens",
            panel=INPUT,
            help="By default by the file's extension, else lines. text: a whole file is one text; "
            "json: an array, or values one after the other; arrow: Arrow IPC, Feather; "
            "tokens: each line is a JSON array of token ids.",
        ),
    ] = "auto"
    null: Annotated[
        bool, _option("--null", "-0", panel=INPUT, help="Texts are separated by NUL, not by lines.")
    ] = False
    text_field: Annotated[
        str | None,
        _option(
            "--text-field",
            metavar="NAME,...",
            panel=INPUT,
            help="Field(s) to embed (text), doc.text inside an object; joined with line breaks.",
        ),
    ] = None
    template: Annotated[
        str | None,
        _option(
            "--template",
            metavar="TEXT",
            panel=INPUT,
            help='How a text is made of fields: "{title}\\n{body}", or "query: {text}". '
            "Plain texts have the fields index and text, whole files path too.",
        ),
    ] = None
    id_field: Annotated[
        str | None,
        _option("--id-field", metavar="NAME", panel=INPUT, help="The field that names a row."),
    ] = None
    encoding: Annotated[
        str | None,
        _option(
            "--encoding",
            metavar="NAME",
            panel=INPUT,
            help="The input's character encoding (utf-8).",
        ),
    ] = None
    encoding_errors: Annotated[
        str | None,
        _option(
            "--encoding-errors",
            metavar="strict|replace",
            panel=INPUT,
            help="What to do with bytes that are not in the encoding (strict).",
        ),
    ] = None
    glob: Annotated[
        str | None,
        _option(
            "--glob",
            metavar="PATTERN",
            panel=INPUT,
            help="Of a directory, read the files whose name matches, such as '*.md'.",
        ),
    ] = None
    csv_types: Annotated[
        str | None,
        _option(
            "--csv-types",
            metavar="auto|text",
            panel=INPUT,
            help="Find the columns' types in the first MiB (auto), or keep them as text.",
        ),
    ] = None
    delimiter: Annotated[
        str | None,
        _option(
            "--delimiter",
            metavar="CHARACTER",
            panel=INPUT,
            help="What separates the fields of CSV (a comma) and TSV (a tab).",
        ),
    ] = None
    no_header: Annotated[
        bool,
        _option(
            "--no-header",
            panel=INPUT,
            help="CSV and TSV without a header: the columns are c1, c2, ...",
        ),
    ] = False
    csv_quoting: Annotated[
        str | None,
        _option(
            "--csv-quoting",
            metavar="quotes|backslash",
            panel=INPUT,
            help='How CSV and TSV fields are escaped: in quotes (quotes), or with "\\t", "\\n" and '
            '"\\N" as psql\'s COPY and mysql --batch write them (backslash).',
        ),
    ] = None
    long: Annotated[
        str,
        _option(
            "--long",
            metavar="error|truncate|split|mean",
            panel=INPUT,
            help="What to do with a text over the model's limit (error). split: a row a chunk; "
            "mean: the chunks' mean, by tokens.",
        ),
    ] = "error"
    chunk_tokens: Annotated[
        int | None,
        _option(
            "--chunk-tokens",
            metavar="N",
            min=1,
            panel=INPUT,
            help="With --long: cut at N tokens instead of the model's limit.",
        ),
    ] = None
    overlap: Annotated[
        int,
        _option(
            "--overlap",
            metavar="N",
            min=0,
            panel=INPUT,
            help="With --long split or mean: about N tokens shared by neighbouring chunks.",
        ),
    ] = 0


class OutputOptions(NamedTuple):
    """Where vectors go and in what form."""

    output: Annotated[
        str | None,
        _option(
            "--output",
            "-o",
            metavar="PATH",
            panel=OUTPUT,
            help="Write to PATH (- is stdout); it appears whole or not at all.",
        ),
    ] = None
    format: Annotated[
        str | None,
        _option(
            "--format",
            metavar="jsonl|parquet|npy",
            panel=OUTPUT,
            help="By default by PATH's extension (.jsonl.gz, .jsonl.zst are compressed); jsonl "
            "on stdout.",
        ),
    ] = None
    dtype: Annotated[
        str,
        _option(
            "--dtype",
            metavar="float32|float16",
            panel=OUTPUT,
            help="The type of the stored numbers (float32).",
        ),
    ] = "float32"
    columns: Annotated[
        str | None,
        _option(
            "--columns",
            metavar="NAME,...",
            panel=OUTPUT,
            help="The input's columns to keep, in this order; all by default.",
        ),
    ] = None
    if_exists: Annotated[
        str | None,
        _option(
            "--if-exists",
            metavar="error|skip|replace",
            panel=OUTPUT,
            help="When the output exists: fail with exit 7 (error), do nothing, or replace it.",
        ),
    ] = None
    force: Annotated[
        bool, _option("--force", panel=OUTPUT, help="The same as --if-exists replace.")
    ] = False


class JobOptions(NamedTuple):
    """How a job is kept, limited and reported."""

    job_dir: Annotated[
        str | None,
        _option(
            "--job-dir",
            metavar="DIR",
            panel=JOB,
            help="Where what is received is stored (OUTPUT.tovec).",
        ),
    ] = None
    keep_job: Annotated[
        bool,
        _option(
            "--keep-job",
            panel=JOB,
            help="Keep the vectors for the next run, which then pays for changed rows only.",
        ),
    ] = False
    max_cost: Annotated[
        float | None,
        _option(
            "--max-cost", metavar="USD", min=0, panel=JOB, help="Stop before the job costs more."
        ),
    ] = None
    max_tokens: Annotated[
        int | None,
        _option(
            "--max-tokens",
            metavar="N",
            min=1,
            panel=JOB,
            help="Stop before the job takes more tokens.",
        ),
    ] = None
    on_error: Annotated[
        str,
        _option(
            "--on-error",
            metavar="reject|stop",
            panel=JOB,
            help="What to do with a bad row: set it aside (reject), or stop.",
        ),
    ] = "reject"
    rejects: Annotated[
        str | None,
        _option(
            "--rejects",
            metavar="FILE",
            panel=JOB,
            help="Where rejected rows go (OUTPUT.rejects.jsonl).",
        ),
    ] = None
    rows_per_file: Annotated[
        int | None,
        _option(
            "--rows-per-file",
            metavar="N",
            min=1,
            panel=JOB,
            help="Write part files of N rows; OUTPUT is then a directory.",
        ),
    ] = None
    stats: Annotated[
        str | None,
        _option("--stats", metavar="FILE", panel=JOB, help="Write a report as JSON to FILE."),
    ] = None
    progress: Annotated[
        str,
        _option(
            "--progress",
            metavar="auto|bar|lines|none",
            panel=JOB,
            help="A bar on a terminal, a line a minute elsewhere (auto).",
        ),
    ] = "auto"


def flattened(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command with its groups of options spread into one flat signature.

    A parameter named `reporter` is filled with the program's Reporter, which the Common options
    set up: they hold whether they stand before the command or after it.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {"common": Common}
    flat = [_parameter("ctx", typer.Context, inspect.Parameter.empty)]
    for name, parameter in inspect.signature(command).parameters.items():
        if hasattr(hints[name], "_field_defaults"):
            groups[name] = hints[name]
        elif name != "reporter":
            flat.append(_parameter(name, hints[name], parameter.default))
    for group in (*[one for name, one in groups.items() if name != "common"], Common):
        flat += [
            _parameter(one, kind, group._field_defaults[one])
            for one, kind in group.__annotations__.items()
        ]

    def spread(ctx: typer.Context, **values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{one: values.pop(one) for one in group._fields})
        common = values["common"] = merged(ctx.meta.get(_BEFORE), values["common"])
        ctx.meta[_BEFORE] = common
        set_up(ctx.obj, common)
        wanted = {**values, "reporter": ctx.obj}
        command(**{name: wanted[name] for name in hints if name in wanted})

    spread.__name__, spread.__doc__ = command.__name__, command.__doc__
    spread.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    spread.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return spread


STDOUT_NAMES = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")

_BEFORE = "tovec.common"  # where Click's context keeps what stood before the command's name


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def merged(before: Common | None, after: Common) -> Common:
    """Give the options that stand after the command on top of those before it."""
    if before is None:
        return after
    defaults = Common._field_defaults
    given = {name: value for name, value in after._asdict().items() if value != defaults[name]}
    return before._replace(**given)


def set_up(reporter: Reporter, common: Common) -> None:
    """Make the Common options hold for everything that is said from now on."""
    reporter.verbosity = -1 if common.quiet else common.verbose
    reporter.json = one_of("--log-format", common.log_format or "text", ("text", "json")) == "json"
    match one_of("--color", common.color or "auto", ("auto", "always", "never")):
        case "always":
            os.environ["FORCE_COLOR"] = "1"
            os.environ.pop("NO_COLOR", None)
        case "never":
            os.environ["NO_COLOR"] = "1"


def one_of(option: str, value: str, known: Sequence[str]) -> str:
    """Give the value back if it is a known one; UsageError naming the nearest otherwise."""
    if value in known:
        return value
    import difflib

    near = difflib.get_close_matches(value, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"one of: {', '.join(known)}"
    raise UsageError(f"{option} does not know {value!r}", hint=hint)


def if_exists(output: OutputOptions) -> str:
    """Return what happens to an output that exists: "error", "skip" or "replace"."""
    chosen = one_of("--if-exists", output.if_exists or "error", ("error", "skip", "replace"))
    if output.force and output.if_exists not in (None, "replace"):
        raise UsageError(f"--force and --if-exists {output.if_exists} contradict each other")
    return "replace" if output.force else chosen


def skips(path: str | None, choice: str, reporter: Reporter) -> bool:
    """Return whether there is nothing to do, because the output exists and is to be left."""
    if choice != "skip" or path in (None, "-") or not os.path.lexists(str(path)):
        return False
    reporter.say("summary", f"{path} exists, nothing was done (--if-exists skip)")
    return True


def output_path(output: OutputOptions) -> str | None:
    """Return the output's path; names of standard output are "-"."""
    return "-" if output.output in STDOUT_NAMES else output.output


def names(value: str | None) -> tuple[str, ...] | None:
    """Give the names in a comma-separated option."""
    return None if value is None else tuple(name.strip() for name in value.split(","))


def extra_fields(pairs: Sequence[str] | None) -> dict[str, object]:
    """Give the further request fields of --extra KEY=VALUE; a VALUE that is JSON is taken as such.

    Raises UsageError for a pair without "=".
    """
    fields: dict[str, object] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--extra takes KEY=VALUE, not {pair!r}")
        import json

        try:
            fields[key] = json.loads(value)
        except (ValueError, RecursionError):
            fields[key] = value
    return fields


def chosen(common: Common, endpoint: EndpointOptions) -> Settings:
    """Give the settings in force: these options over the environment over the config file."""
    flags = {**endpoint._asdict(), "extra": extra_fields(endpoint.extra)}
    return settings.load(common.config, os.environ).with_flags(flags)


def long_texts(given: InputOptions) -> "LongTexts":
    """Give what is done with long texts."""
    from tovec.pipeline.long_texts import POLICIES, LongTexts

    policy = one_of("--long", given.long, POLICIES)
    return LongTexts(policy, given.chunk_tokens, given.overlap)


def read_options(given: InputOptions, columns: str | None = None) -> ReadOptions:
    """Return how the input is read; `columns` are the output's, so that no others are read.

    Raises UsageError for --text-field beside --template, which names its fields itself.
    """
    if given.text_field is not None and given.template is not None:
        raise UsageError(
            "--text-field and --template do not go together",
            hint="the template names its fields itself",
        )
    named = {
        "--null": given.null,
        "--text-field": given.text_field is not None,
        "--template": given.template is not None,
        "--encoding": given.encoding is not None,
        "--encoding-errors": given.encoding_errors is not None,
        "--glob": given.glob is not None,
        "--csv-types": given.csv_types is not None,
        "--csv-quoting": given.csv_quoting is not None,
        "--delimiter": given.delimiter is not None,
        "--no-header": given.no_header,
        "--input-format": given.input_format != "auto",
    }
    return ReadOptions(
        format=given.input_format,
        text_fields=names(given.text_field) or ("text",),
        template=given.template,
        id_field=given.id_field,
        null_separated=given.null,
        encoding=_or(given.encoding, "utf-8"),
        encoding_errors=_or(given.encoding_errors, "strict"),
        glob=given.glob,
        columns=names(columns),
        csv_types=_or(given.csv_types, "auto"),
        delimiter=given.delimiter,
        header=not given.no_header,
        csv_quoting=_or(given.csv_quoting, "quotes"),
        given=frozenset(option for option, was_named in named.items() if was_named),
    )


def _or(value: str | None, default: str) -> str:
    return default if value is None else value
