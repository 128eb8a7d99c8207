"""CSV and TSV: every record once, in order, unchanged, whatever is inside its quotes."""

import csv
import gzip
import io
import json
import os
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.formats.reading import as_json, problems, read_bytes, read_files, texts

from tovec import formats
from tovec.errors import InputError, UsageError
from tovec.formats.arrow import ArrowRows
from tovec.formats.cutting import quoted_records
from tovec.formats.protocols import ReadOptions

cell = st.text(
    st.one_of(
        st.sampled_from("\",\n\t;' a1"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"),
    ),
    max_size=8,
).filter(lambda text: not text.startswith("\ufeff"))
sentence = cell.filter(lambda text: text.strip())


def written(rows, delimiter=",", **how) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, **how).writerows(rows)
    return out.getvalue().encode()


@given(
    st.lists(st.tuples(sentence, cell), max_size=25),
    st.sampled_from([("csv", ","), ("tsv", "\t")]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.sampled_from(["\n", "\r\n"]),
)
@example([("a", 'x\n\n"')], ("csv", ","), csv.QUOTE_ALL, "\n")
def test_rows_come_once_in_order_and_unchanged(rows, kind, quoting, end):
    name, delimiter = kind
    data = written([("text", "b"), *rows], delimiter, quoting=quoting, lineterminator=end)
    blocks = read_bytes(data, format=name, csv_types="text")
    assert texts(blocks) == [text for text, _ in rows]
    assert as_json(blocks) == [{"text": text, "b": other} for text, other in rows]
    assert [i for block in blocks for i in block.index] == list(range(len(rows)))


@given(st.lists(st.tuples(sentence, cell), min_size=1, max_size=12), st.data())
def test_records_do_not_depend_on_how_the_bytes_arrive(rows, data):
    whole = written(rows, quoting=data.draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    parts = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    pieces = list(quoted_records(iter(parts), b",", AssertionError))
    found = [row for one in pieces for row in csv.reader(io.StringIO(one.decode(), newline=""))]
    assert found == [list(row) for row in rows]


def test_a_row_stands_in_the_line_in_which_an_editor_shows_it():
    data = b'\ntext,b\none,"1\n2\n3"\n\n"two\n\nparts",x\n,,\nlast,y\n'
    blocks = read_bytes(data, format="csv")
    (block,) = blocks
    assert block.inputs == ["one", "two\n\nparts", "last"]
    assert list(block.lines) == [3, 7, 11]
    assert problems(blocks) == [("syntax", 10, 3)]
    assert block.blank == 1


def test_a_record_of_the_wrong_length_is_a_problem_and_the_others_are_read():
    blocks = read_bytes(b"text,n\na,1\nb\nc,3,4\nd,4\n", format="csv")
    assert as_json(blocks) == [{"text": "a", "n": 1}, {"text": "d", "n": 4}]
    assert problems(blocks) == [("syntax", 3, 1), ("syntax", 4, 2)]
    (first, second) = blocks[0].problems
    assert (first.raw, first.reason) == (b"b", "the record has 1 field, the header 2")
    assert second.raw == b"c,3,4"


def test_an_empty_text_is_a_problem_and_an_empty_row_is_blank():
    blocks = read_bytes(b'text,n\n,1\n" ",2\n,\n\na,5\n', format="csv")
    assert problems(blocks) == [("empty", 2, 0), ("empty", 3, 1)]
    assert (texts(blocks), blocks[0].blank) == (["a"], 2)


@pytest.mark.parametrize("data", [b"", b"\n\n", b"text,n\n", b"text,n"])
def test_an_empty_file_gives_one_block_of_no_rows(data):
    (block,) = read_bytes(data, format="csv")
    assert (len(block.rows), block.inputs, block.problems) == (0, [], ())
    assert block.rows.arrow().schema.names == (["text", "n"] if b"text" in data else [])
    assert block.rows.arrow(["n"]).num_rows == 0


# Types -----------------------------------------------------------------------------------------


def types_of(data: bytes, **options) -> dict[str, str]:
    (block,) = read_bytes(data, format="csv", **options)
    return {field.name: str(field.type) for field in block.rows.arrow().schema}


@pytest.mark.parametrize(
    ("values", "kind", "json"),
    [
        (["1", "-20", ""], "int64", [1, -20, None]),
        (["1.5", "2.0", "", "-0.0"], "double", [1.5, 2.0, None, -0.0]),
        (["1.5", "2"], "string", ["1.5", "2"]),
        (["1e-3"], "string", ["1e-3"]),
        (["5.2e-05", "1e+16"], "double", [5.2e-05, 1e16]),
        (["true", "false"], "bool", [True, False]),
        (["true", "False"], "string", ["true", "False"]),
        (["2024-02-29", ""], "date32[day]", ["2024-02-29", None]),
        (["0000-01-01"], "string", ["0000-01-01"]),
        (["2024-02-29T10:00:00"], "timestamp[us]", ["2024-02-29T10:00:00"]),
        (["2024-02-29 10:00"], "string", ["2024-02-29 10:00"]),
        (
            ["2024-02-29T10:00:00.500000+00:00"],
            "timestamp[us, tz=UTC]",
            ["2024-02-29T10:00:00.500000+00:00"],
        ),
        (["2024-02-29T10:00:00.5Z"], "string", ["2024-02-29T10:00:00.5Z"]),
        (["007", "8"], "string", ["007", "8"]),
        (["12345678901234567890"], "string", ["12345678901234567890"]),
        (["+1", "1"], "string", ["+1", "1"]),
        (["-0"], "string", ["-0"]),
        (["0x10"], "string", ["0x10"]),
        (["nan"], "string", ["nan"]),
        (["1,5"], "string", ["1,5"]),
        (["2023-02-29"], "string", ["2023-02-29"]),
        (["2024-02-29T10:00:00+02:00"], "string", ["2024-02-29T10:00:00+02:00"]),
        (["1", "2.5", "x"], "string", ["1", "2.5", "x"]),
        (["", ""], "string", ["", ""]),
    ],
)
def test_a_column_has_a_type_only_where_no_digit_is_lost(values, kind, json):
    data = written([("text", "v"), *(("t", value) for value in values)])
    assert types_of(data)["v"] == kind
    assert [row["v"] for row in as_json(read_bytes(data, format="csv"))] == json
    assert types_of(data, csv_types="text")["v"] == "string"


SPELLINGS = """
1.10 0.1234567890123456789 1e400 1e-400 1e5 TRUE True 007 +1 1_0 ٣ 1.0 10.00 -0 -0.0 .5 5. 0.00001
12345678901234567.0 9223372036854775807 9223372036854775808 inf nan NaN null 2024-02-30 2024-02-29
0000-01-01 2024-01-01T24:00:00 2024-01-01T10:00:00.100000 2024-01-01T10:00:00.000000
2024-01-01T10:00:00+00:00 20240101 2024-W01-1
"""
number = st.one_of(
    st.sampled_from(SPELLINGS.split()),
    st.integers(-(2**65), 2**65).map(str),
    st.floats().map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
    st.booleans().map(lambda value: str(value).lower()),
    st.dates().map(str),
    st.datetimes().map(lambda value: value.isoformat()),
    st.text("0123456789.e+-_ ٣T:", max_size=9),
)


def as_written(value) -> str:
    """Return how JSON's readers would print a value."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


@given(st.lists(number, min_size=1, max_size=4), st.integers(1, 3))
def test_a_value_written_back_is_the_same_text(values, times):
    """#219: to JSONL, to Parquet and from there to JSONL, whatever else is in the column."""
    data = written([("text", "v"), *(("t", value) for value in values * times)])
    (block,) = read_bytes(data, format="csv")
    expected = values * times
    assert [as_written(row["v"]) for row in as_json([block])] == expected
    file = io.BytesIO()
    pq.write_table(pa.table(block.rows.arrow()), file)
    batch = pq.read_table(file).to_batches()[0]
    again = ArrowRows(batch, list(range(len(batch)))).json()
    assert [as_written(json.loads(row)["v"]) for row in again] == expected


def test_the_column_that_is_embedded_is_always_text():
    assert types_of(b"text,n\n1,1\n2,2\n") == {"text": "string", "n": "int64"}


@pytest.mark.parametrize("late", ["x", "007", "12345678901234567890"])
def test_a_value_of_another_type_after_the_first_mib_is_named(late, tmp_path):
    rows = [("text", "n"), *((f"{'x' * 100}", str(i)) for i in range(20_000)), ("t", late)]
    path = tmp_path / "a.csv"
    path.write_bytes(written(rows))
    with pytest.raises(InputError, match="holds whole numbers in the first rows") as caught:
        read_files(path)
    assert repr(late) in caught.value.what
    assert caught.value.where.endswith("a.csv, line 20002")
    assert "--csv-types text" in caught.value.hint
    assert len(texts(read_files(path, csv_types="text"))) == 20_001


def test_types_do_not_depend_on_how_a_pipe_delivers():
    out, into = os.pipe()

    def feed():
        for part in (b"text,n\na,1.0\n", b"b,2.5\n"):
            os.write(into, part)
        os.close(into)

    feeder = threading.Thread(target=feed)
    feeder.start()
    with io.FileIO(out) as stdin:
        blocks = list(formats.read(["-"], ReadOptions(format="csv"), stdin))
    feeder.join()
    assert [row["n"] for row in as_json(blocks)] == [1.0, 2.5]


def test_with_text_columns_rows_are_handed_over_while_a_pipe_stays_open():
    out, into = os.pipe()
    options = ReadOptions(format="csv", csv_types="text")
    with io.FileIO(out) as stdin:
        blocks = formats.read(["-"], options, stdin)
        os.write(into, b'text\nfirst\n"sec')
        assert next(blocks).inputs == ["first"]
        os.write(into, b'\nond"\n')
        os.close(into)
        assert texts(blocks) == ["sec\nond"]


# Dirt ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "line"),
    [(b'text\na\n"b\nc\n', 3), (b'text\n"a""', 2), (b'"text\n', 1), (b'text,n\na,"1\n2', 2)],
)
def test_a_quote_that_is_never_closed_is_named_by_its_line(data, line):
    with pytest.raises(InputError, match="never closed") as caught:
        read_bytes(data, format="csv", csv_types="text")
    assert caught.value.where == f"standard input, line {line}"


def test_a_quote_inside_a_field_is_text():
    blocks = read_bytes(b'text,n\n5" pipe,1\n6" pipe,2\n"7"" pipe",3\n', format="csv")
    assert texts(blocks) == ['5" pipe', '6" pipe', '7" pipe']


def test_a_last_line_that_is_cut_is_a_problem():
    assert problems(read_bytes(b"text,n\na,1\nb", format="csv")) == [("syntax", 3, 1)]


def test_a_long_record_is_read_whole_and_one_without_end_is_refused(monkeypatch):
    long = "x\n" * (2 << 20)
    assert texts(read_bytes(written([("text",), (long,)]), format="csv")) == [long]
    monkeypatch.setattr("tovec.formats.cutting.MAX_RECORD_BYTES", 1 << 20)
    with pytest.raises(InputError, match="longer than 1 MiB"):
        read_bytes(written([("text",), (long,)]), format="csv")


def test_a_byte_order_mark_and_other_encodings_are_read():
    data = "text\nna\xefve\n"
    assert texts(read_bytes(data.encode("utf-8-sig"), format="csv")) == ["na\xefve"]
    assert texts(read_bytes(data.encode("latin-1"), format="csv", encoding="latin-1")) == [
        "na\xefve"
    ]
    assert texts(read_bytes(data.encode("utf-16"), format="csv", encoding="utf-16")) == ["na\xefve"]


@given(st.integers(0, 5), st.integers(0, 5))
def test_invalid_utf8_is_a_problem_however_the_bytes_arrive(lines, before):
    """#148"""
    data = b"text\n" + "é\n".encode() * lines + b"x" * before + b"\xefve\nlast\n"
    blocks = read_bytes(data, format="csv")
    assert texts(blocks) == ["é"] * lines + ["last"]
    (problem,) = [one for block in blocks for one in block.problems]
    assert (problem.kind, problem.line, problem.index) == ("encoding", lines + 2, lines)
    assert problem.reason == f"byte 0xef at byte {before + 1} of the line is not UTF-8"
    assert problem.raw == b"x" * before + b"\xefve"
    replaced = read_bytes(data, format="csv", encoding_errors="replace")
    assert texts(replaced)[-2] == "x" * before + "\ufffdve"


def test_columns_that_are_not_there_or_there_twice_are_named():
    with pytest.raises(InputError, match="no column 'text'") as caught:
        read_bytes(b"txt,n\na,1\n", format="csv")
    assert (caught.value.where, caught.value.hint) == ("standard input", "did you mean txt?")
    with pytest.raises(InputError, match="no column 'ident'"):
        read_bytes(b"text,n\na,1\n", format="csv", id_field="ident")
    with pytest.raises(InputError, match="two columns are called 'n'"):
        read_bytes(b"text,n,n\na,1,2\n", format="csv")
    # pandas writes its index without a name
    assert as_json(read_bytes(b",text\n0,a\n", format="csv")) == [{"": 0, "text": "a"}]


def test_only_the_columns_that_are_needed_are_typed_and_kept():
    options = {"format": "csv", "columns": ("n",), "id_field": "id"}
    (block,) = read_bytes(b"id,text,other,n\n1,a,x,2\n", **options)
    assert block.rows.arrow().schema.names == ["id", "text", "n"]
    assert block.rows.json(["n"]) == [b'{"n":2}']
    assert block.rows.ids("id") == [1]


def test_several_fields_are_joined_and_the_delimiter_can_be_named():
    data = b"title;body\nT;B\n"
    options = {"format": "csv", "delimiter": ";"}
    assert texts(read_bytes(data, text_fields=("title", "body"), **options)) == ["T\nB"]
    assert texts(read_bytes(data, template="{body}/{title}", **options)) == ["B/T"]
    with pytest.raises(UsageError, match="one ASCII character"):
        read_bytes(data, format="csv", delimiter="::")
    with pytest.raises(UsageError, match="--csv-types"):
        read_bytes(data, format="csv", csv_types="guess")


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.csv", bytes),
        ("a.CSV.gz", gzip.compress),
        ("a.tsv.zst", lambda data: pa.compress(data.replace(b",", b"\t"), "zstd", asbytes=True)),
    ],
)
def test_the_format_is_known_by_the_name_below_the_compression(tmp_path, name, pack):
    path = tmp_path / name
    path.write_bytes(pack(b"text,n\na,1\n"))
    assert as_json(read_files(path)) == [{"text": "a", "n": 1}]


# Headers ---------------------------------------------------------------------------------------


def test_a_file_without_a_header_has_numbered_columns():
    """#220"""
    data = b'7,first,x\n8,"se,cond",y\n9\n'
    options = {"format": "csv", "header": False, "text_fields": ("c2",)}
    blocks = read_bytes(data, **options)
    assert as_json(blocks) == [
        {"c1": 7, "c2": "first", "c3": "x"},
        {"c1": 8, "c2": "se,cond", "c3": "y"},
    ]
    assert problems(blocks) == [("syntax", 3, 2)]
    assert (list(blocks[0].lines), list(blocks[0].index)) == ([1, 2], [0, 1])
    assert texts(read_bytes(b"a,\n\nb,c\n", format="csv", header=False, template="{c1}!")) == [
        "a!",
        "b!",
    ]
    with pytest.raises(InputError, match="no column 'text'") as caught:
        read_bytes(data, format="csv", header=False)
    assert caught.value.hint == "without a header there is c1 to c3: name one with --text-field"


def test_fields_escaped_by_backslashes_are_read_as_psql_writes_them():
    r"""#220: COPY ... TO in its text format, and mysql --batch; \N is null."""
    data = b'1\t"a\\tb\\nc\\\\d\t2\n2\t\\N\t\\N\n3\tx"y\t\n'
    options = {"format": "tsv", "header": False, "csv_quoting": "backslash"}
    blocks = read_bytes(data, text_fields=("c2",), **options)
    assert as_json(blocks) == [
        {"c1": 1, "c2": '"a\tb\nc\\d', "c3": 2},
        {"c1": 3, "c2": 'x"y', "c3": None},
    ]
    (problem,) = blocks[0].problems
    assert (problem.kind, problem.line) == ("type", 2)
    with pytest.raises(UsageError, match="--csv-quoting takes"):
        read_bytes(data, format="tsv", csv_quoting="none")


def test_empty_columns_after_the_last_name_are_passed_over():
    """#220: as Excel writes them; a value in one has no name to go by."""
    data = b"text,n,,\na,1,,\nb,2\nc,3,\n,,,\nd,4,,lost\ne,5,,,\n"
    blocks = read_bytes(data, format="csv")
    assert as_json(blocks) == [
        {"text": text, "n": n} for text, n in zip("abc", (1, 2, 3), strict=True)
    ]
    assert problems(blocks) == [("syntax", 6, 4), ("syntax", 7, 5)]
    assert [one.reason for one in blocks[0].problems] == [
        "column 4 has a value, but the header has no name for it",
        "the record has 5 fields, the header 2",
    ]
    assert blocks[0].blank == 1
    with pytest.raises(InputError, match="2 columns have no name"):
        read_bytes(b",,text\n1,2,a\n", format="csv")


@pytest.mark.parametrize(("mark", "shown"), [(";", "';'"), ("\t", "$'\\t'"), ("|", "'|'")])
def test_another_delimiter_is_named_where_the_column_is_not_there(mark, shown):
    """#220"""
    with pytest.raises(InputError, match="no column 'text'") as caught:
        read_bytes(f"id{mark}text{mark}n\n1{mark}a, b{mark}2\n".encode(), format="csv")
    assert caught.value.hint.endswith(f"--delimiter {shown}?")
