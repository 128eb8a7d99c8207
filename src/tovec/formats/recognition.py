"""What a file is by its first bytes, where it is about to be read as something else.

A format that was only guessed (plain lines, for standard input and unknown extensions) must not
turn JSON, CSV or a binary file into vectors of its raw lines: what is recognised is refused, with
the option that says how it is to be read. Only what has been delivered is looked at, so that a
live pipe does not wait.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import orjson

from tovec.errors import InputError, UsageError
from tovec.formats.protocols import ReadOptions

SAMPLE_BYTES = 64 << 10
MAX_RECORDS = 50  # looked at to recognise CSV

_FILES = (  # how a file begins, what it is, and what to do
    (b"PAR1", "a Parquet file", "--input-format parquet reads it, from a file"),
    (b"ARROW1", "an Arrow IPC file", "--input-format arrow reads it"),
    (b"\xff\xff\xff\xff", "an Arrow IPC stream", "--input-format arrow reads it"),
    (b"FEA1", "a Feather file of version 1", "write it again with a current pyarrow or pandas"),
    (b"ORC", "an ORC file", "write it as Parquet, with pyarrow.orc or Spark"),
    (b"Obj\x01", "an Avro file", "write it as Parquet or JSON lines, with DuckDB or Spark"),
    (b"\x04\x22\x4d\x18", "an lz4 file", "lz4 -dc FILE | tovec ..., with --input-format"),
    (b"\x1f\x9d", "a compressed file (.Z)", "gzip -dc FILE | tovec ..., with --input-format"),
    (b"\xd0\xcf\x11\xe0", "an old Office file (xls, doc)", "save it as CSV or text"),
    (b"\x93NUMPY", "a .npy matrix", "`tovec similarity --in` reads vectors; texts are needed here"),
    (b"SQLite format 3\0", "an SQLite database", "sqlite3 -csv -header FILE 'SELECT ...' | tovec"),
    (b"\x89HDF", "an HDF5 file", "write it as Parquet or JSON lines"),
    (b"%PDF-", "a PDF file", "pdftotext FILE - | tovec ..."),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
)
_ZIP = b"PK\x03\x04"
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x80-\xff]")

_NAME = re.compile(r"[A-Za-z_][\w.-]{0,39}")
_NUMBER = re.compile(r"-?[0-9][0-9.,:/eE+-]*")
_USUAL_NAMES = frozenset((
    "id", "key", "text", "title", "body", "content", "name", "label", "question", "answer", "query",
    "sentence", "document", "comment", "review", "summary", "message", "description", "category",
    "url", "date", "author", "user", "source", "type", "language", "lang", "score",
))  # fmt: skip
_TOKEN = re.compile(
    rb'\s*+(?:("(?:[^"\\\0-\x1f]|\\.)*+")|(-?[0-9][-+.0-9eE]*+|true|false|null)|([][{},:])|(\Z))'
)
_UNFINISHED = re.compile(rb'\s*+(?:"(?:[^"\\\0-\x1f]|\\.)*+\\?|[-+.0-9eE]*+|[a-z]{1,4})\Z')
_END_OF_LINE = re.compile(rb"[ \t]*+(?:[\r\n]|\Z)")


# Binary files -----------------------------------------------------------------------------------


def check_text(parts: Iterator[bytes], source: str) -> Iterator[bytes]:
    """Yield the parts. Raises InputError where the first begins as a known kind of binary file."""
    for part in parts:
        if found := binary_kind(part):
            what, hint = found
            raise InputError(f"this is {what}, not text", where=source, hint=hint)
        yield part
        break
    yield from parts


def binary_kind(head: bytes) -> tuple[str, str] | None:
    """Return what a binary file is by its first bytes, and what to do with it."""
    head = head[:4096]
    if head.startswith(_ZIP):
        if b"[Content_Types].xml" in head or b"xl/" in head:
            return "an Excel workbook (xlsx)", "save it as CSV"
        return "a zip archive", "unzip -p FILE | tovec ..., with --input-format"
    for start, what, hint in _FILES:
        if head.startswith(start) and (_CONTROL.search(head) or start == b"%PDF-"):
            return what, hint
    return None


# Text files -------------------------------------------------------------------------------------


def check_lines(parts: Iterator[bytes], options: ReadOptions, source: str) -> Iterator[bytes]:
    """Yield the parts. Raises UsageError where the first looks like JSON or CSV, not like lines."""
    for part in parts:
        if part.strip():
            sample = part[:SAMPLE_BYTES]
            what = _json_kind(sample) or _csv_kind(sample, options.text_fields)
            if what is not None:
                name, option = what
                raise UsageError(
                    f"this looks like {name}, and no format is named",
                    where=source,
                    hint=f"--input-format {option} reads it so; with --input-format lines each "
                    "line is a text",
                )
        yield part
        if part.strip():
            break
    yield from parts


def _json_kind(sample: bytes) -> tuple[str, str] | None:
    body = sample.lstrip()
    if body[:1] not in (b"{", b"["):
        return None
    line = re.split(rb"[\r\n]", body, maxsplit=1)[0]
    try:
        value = orjson.loads(line)
    except ValueError:
        return ("JSON", "json") if _begins_json(body) else None
    if isinstance(value, dict):
        return "JSON lines", "jsonl"
    if value and all(type(one) is int for one in value):
        return "arrays of token ids", "tokens"
    return "JSON", "json"


def _begins_json(data: bytes) -> bool:
    """Return whether bytes are the beginning of a JSON value, as far as they go."""
    at, depth = 0, 0
    before = b""  # the kind of the token before: an opening or closing bracket, a comma, a value
    while at < len(data):
        found = _TOKEN.match(data, at)
        if found is None:
            return _UNFINISHED.match(data, at) is not None
        at = found.end()
        mark = found[3]
        if found[4] is not None:
            return True
        is_value = mark is None or mark in b"[{"
        if is_value and before in (b"v", b"]", b"}"):
            return False
        if mark is not None and mark in b",:" and before in (b"", b"[", b"{", b",", b":"):
            return False
        depth += (mark in (b"[", b"{")) - (mark in (b"]", b"}"))
        if depth <= 0:
            return _END_OF_LINE.match(data, at) is not None
        before = mark or b"v"
    return True


def _csv_kind(sample: bytes, text_fields: Sequence[str]) -> tuple[str, str] | None:
    """Return how a table is named; None where nothing but its separators speaks for one.

    Its first record must be of names, each other record as long, and there must be a sign that the
    names are a header: the field that is embedded, a usual name, or a column of numbers.
    """
    lines = sample.decode(errors="replace").splitlines()
    for delimiter, name, option in (
        (",", "CSV", "csv"),
        ("\t", "TSV", "tsv"),
        (";", "CSV with semicolons", "csv --delimiter ';'"),
    ):
        header = lines[0].split(delimiter) if lines else []
        names = [one.strip('"') for one in header]
        if len(names) < 2 or len(set(names)) < len(names):
            continue
        if all(_NAME.fullmatch(one) for one in names) and (
            not set(names).isdisjoint(text_fields) or _is_table(lines, names, delimiter)
        ):
            return name, option
    return None


def _is_table(lines: list[str], names: list[str], delimiter: str) -> bool:
    import csv

    try:
        # The last record may go on after the sample.
        records = list(csv.reader(lines[1:MAX_RECORDS], delimiter=delimiter))[:-1]
    except csv.Error:
        return False
    records = [one for one in records if one]
    if not records or any(len(one) != len(names) for one in records):
        return False
    if any(one.lower() in _USUAL_NAMES for one in names):
        return True
    return any(all(map(_NUMBER.fullmatch, column)) for column in zip(*records, strict=True))
