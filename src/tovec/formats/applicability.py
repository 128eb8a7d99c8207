"""Which input options act on which formats: one that cannot act is refused, never ignored."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tovec.errors import UsageError

ANY = frozenset(("lines", "text", "jsonl", "json", "csv", "tsv", "parquet", "arrow", "tokens"))
_COLUMNAR = {"parquet", "arrow"}
_TABLES = frozenset(("csv", "tsv"))
ACTS_ON: Mapping[str, frozenset[str]] = {
    "--null": frozenset(("lines",)),
    "--text-field": ANY - {"tokens"},
    "--template": ANY - {"tokens"},
    "--query-template": ANY - {"tokens"},
    "--encoding": ANY - _COLUMNAR,
    "--encoding-errors": ANY - _COLUMNAR - {"tokens"},
    "--csv-types": _TABLES,
    "--csv-quoting": _TABLES,
    "--delimiter": _TABLES,
    "--no-header": _TABLES,
}
ON_FILES = frozenset(ACTS_ON) - {"--text-field", "--template", "--query-template"} | {
    "--input-format",
    "--glob",
}
"""The options that say how files and pipes are read, and not what is made of their rows."""


def check_formats(given: Collection[str], formats: Collection[str]) -> None:
    """Raise UsageError for an option that acts on none of the formats that are read."""
    for option in sorted(ACTS_ON.keys() & given):
        acts_on = ACTS_ON[option]
        if not acts_on.intersection(formats):
            raise UsageError(
                f"{option} does not apply to {_listed(formats)}",
                hint=f"it is for {_listed(acts_on)}; --input-format names the input's format",
            )


def check_no_files(given: Collection[str], what: str) -> None:
    """Raise UsageError for an option about files where `what`, which is no file, is read."""
    for option in sorted(ON_FILES.intersection(given)):
        raise UsageError(f"{option} is for files and pipes, not for {what}")


def check_stored(given: Collection[str]) -> None:
    """Raise UsageError for an option about texts in files where only stored vectors are read."""
    for option in sorted(ON_FILES.intersection(given)):
        raise UsageError(f"{option} is for files of texts, but --in names stored vectors")


def check_glob(given: Collection[str], *, directory: bool) -> None:
    """Raise UsageError for --glob where no directory is read."""
    if "--glob" in given and not directory:
        raise UsageError("--glob chooses among a directory's files, but no directory is named")


def _listed(names: Collection[str]) -> str:
    *others, last = sorted(names)
    return f"{', '.join(others)} and {last}" if others else last
