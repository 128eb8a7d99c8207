"""Readers give every row once, in order, unchanged, and name what cannot be read."""

import gzip
import io
import os
import subprocess
import sys
import threading

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tovec import formats
from tovec.errors import FileError, InputError, UsageError
from tovec.formats.cutting import separated
from tovec.formats.fields import TextField
from tovec.formats.protocols import ReadOptions

LINES = ReadOptions(format="lines")
JSONL = ReadOptions(format="jsonl")


def read_bytes(data: bytes, options: ReadOptions = LINES):
    return list(formats.read(["-"], options, io.BytesIO(data)))  # type: ignore[arg-type]


def texts(blocks) -> list[str]:
    return [text for block in blocks for text in block.inputs]


plain = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"])).filter(
    lambda text: text.strip() and not text.startswith("\ufeff")
)


@given(st.lists(plain, max_size=30), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_lines_come_once_in_order_and_unchanged(lines, end, last):
    data = end.join(lines) + (end if last and lines else "")
    blocks = read_bytes(data.encode())
    assert texts(blocks) == lines
    assert [i for block in blocks for i in block.index] == list(range(len(lines)))


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"|", b"")), max_size=30), st.data())
def test_records_do_not_depend_on_how_the_bytes_arrive(wanted, data):
    whole = b"|".join(wanted)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    parts = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    found = [one for part in separated(iter(parts), b"|", 1000) for one in part]
    expected = wanted[:-1] + ([wanted[-1]] if wanted and wanted[-1] else [])
    assert found == expected


def test_a_record_over_the_limit_comes_as_none_and_the_others_whole():
    parts = [b"ok|" + b"x" * 8, b"y" * 8, b"z|fine|" + b"w" * 11 + b"|" + b"v" * 11]
    assert list(separated(iter(parts), b"|", 10)) == [[b"ok"], [None], [b"fine", None, None]]


rows = st.dictionaries(
    st.text(max_size=6).filter(lambda name: name not in ("text", "embedding")),
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.text(max_size=9)),
    max_size=4,
)


@given(st.lists(st.tuples(rows, plain), max_size=20))
def test_json_rows_keep_their_bytes(pairs):
    import json

    lines = [json.dumps({**row, "text": text}) for row, text in pairs]
    try:
        for line in lines:
            orjson.loads(line)
    except ValueError:
        return  # an integer beyond orjson's range, or a lone surrogate
    blocks = read_bytes("\n".join(lines).encode(), JSONL)
    assert texts(blocks) == [text for _, text in pairs]
    assert [raw for block in blocks for raw in block.rows.json()] == [one.encode() for one in lines]


def test_a_byte_order_mark_at_the_start_is_no_text_and_inside_it_is():
    """#147"""
    assert texts(read_bytes("\ufeffa\n\ufeffb".encode())) == ["a", "\ufeffb"]
    assert texts(read_bytes(b'\xef\xbb\xbf{"text":"a"}', JSONL)) == ["a"]


def test_lf_cr_and_both_end_a_line_and_nothing_else_does():
    """#149"""
    data = "a\u2028b\x85c\x0cd\x1cf\ng\rh\r\n\n\ri"
    blocks = read_bytes(data.encode())
    assert texts(blocks) == ["a\u2028b\x85c\x0cd\x1cf", "g", "h", "i"]
    assert [line for block in blocks for line in block.lines] == [1, 2, 3, 6]
    nul = LINES._replace(null_separated=True)
    assert texts(read_bytes(b"a\rb\r\nc\0d\r", nul)) == ["a\rb\r\nc", "d\r"]


def test_nul_bytes_in_a_line_are_text():
    assert texts(read_bytes(b"a\0b\n")) == ["a\0b"]


def test_a_line_that_is_not_in_the_encoding_is_a_problem(tmp_path):
    """#148"""
    path = tmp_path / "latin.txt"
    path.write_bytes("fine\nna\xefve\nfine\n".encode("latin-1"))
    (block,) = formats.read([str(path)], LINES)
    assert block.inputs == ["fine", "fine"]
    (problem,) = block.problems
    assert (problem.kind, problem.where) == ("encoding", f"{path}, line 2")
    assert problem.reason == "byte 0xef at byte 3 of the line is not UTF-8"
    assert problem.raw == b"na\xefve"


@pytest.mark.parametrize("form", ["lines", "jsonl", "csv", "text"])
@pytest.mark.parametrize(
    ("name", "bad", "reason"),
    [
        ("utf-8", b"\x81", "byte 0x81 at byte"),
        ("shift-jis", b"\xfd", "byte 0xfd at character"),
        ("ascii", b"\xe9", "byte 0xe9 at character"),
    ],
)
def test_the_byte_in_error_is_named_in_every_encoding(form, name, bad, reason):
    """#148"""
    row = {"jsonl": b'{"text":"%b"}\n'}.get(form, b"%b\n")
    data = b"text\n" * (form == "csv") + row % (b"ab" + bad) + row % b"fine" * (form != "text")
    blocks = read_bytes(data, ReadOptions(format=form, encoding=name))
    (problem,) = [one for block in blocks for one in block.problems]
    assert problem.kind == "encoding"
    assert problem.reason.startswith(reason)
    assert texts(blocks) == ["fine"] * (form != "text")


def test_an_encoding_can_be_named_and_errors_replaced():
    latin = "na\xefve".encode("latin-1")
    assert texts(read_bytes(latin, LINES._replace(encoding="latin-1"))) == ["na\xefve"]
    assert texts(read_bytes(latin, LINES._replace(encoding_errors="replace"))) == ["na\ufffdve"]
    wide = "one\r\nna\xefve\rend".encode("utf-16")
    assert texts(read_bytes(wide, LINES._replace(encoding="utf-16"))) == ["one", "na\xefve", "end"]
    for unknown in ("klingon", "zlib", "rot13", "a\0b", "idna"):
        with pytest.raises(UsageError):
            read_bytes(b"x", LINES._replace(encoding=unknown))


def test_blank_rows_are_counted_and_the_others_keep_their_place():
    """#152"""
    (block,) = read_bytes(b"a\n\n \t\nb\n")
    assert (block.inputs, list(block.index), list(block.lines), block.blank) == (
        ["a", "b"],
        [0, 3],
        [1, 4],
        2,
    )


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"{", "syntax"),
        (b"[1]", "type"),
        (b'"x"', "type"),
        (b'{"text": 1}', "type"),
        (b'{"text": ["a"]}', "type"),
        (b'{"text": true}', "type"),
        (b'{"text": null}', "type"),
        (b'{"other": "x"}', "missing"),
        (b'{"text": ""}', "empty"),
        (b'{"text": " \\n"}', "empty"),
        (b'{"text": "\xff"}', "encoding"),
        (b'{"text": "\\ud800"}', "encoding"),
        (b'{"text": "x"} {"text": "y"}', "syntax"),
    ],
)
def test_a_bad_row_is_a_problem_with_its_place_and_the_others_are_read(line, kind):
    """#151 #153 #155 #156 #157"""
    (block,) = read_bytes(b'{"text":"a"}\n' + line + b'\n{"text":"b"}\n', JSONL)
    assert block.inputs == ["a", "b"]
    (problem,) = block.problems
    assert (problem.kind, problem.line, problem.index, problem.raw) == (kind, 2, 1, line)


def test_of_equal_keys_the_last_one_counts():
    """#159"""
    (block,) = read_bytes(b'{"text":"a","text":"b"}\n', JSONL)
    assert block.inputs == ["b"]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_the_format_is_known_by_the_name_below_the_compression(tmp_path, suffix):
    data = b'{"text":"a"}\n'
    path = tmp_path / f"rows.jsonl{suffix}"
    if suffix == ".gz":
        data = gzip.compress(data)
    elif suffix == ".zst":
        data = pa.compress(data, "zstd", asbytes=True)
    path.write_bytes(data)
    assert texts(formats.read([str(path)], ReadOptions())) == ["a"]


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_gzip_file_is_an_error_and_never_a_shorter_file(tmp_path, damage):
    """#163"""
    whole = bytearray(gzip.compress(b"".join(b"line %d\n" % i for i in range(5000))))
    if damage == "cut":
        del whole[-20:]
    else:
        whole[len(whole) // 2] ^= 0xFF
    path = tmp_path / "x.gz"
    path.write_bytes(whole)
    with pytest.raises(InputError):
        list(formats.read([str(path)], LINES))


def test_rows_are_handed_over_while_a_pipe_stays_open():
    out, into = os.pipe()
    blocks = formats.read(["-"], LINES, io.FileIO(out))
    seen = threading.Event()

    def feed():
        os.write(into, b"first\nsec")
        assert seen.wait(10)
        os.write(into, b"ond\n")
        os.close(into)

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert next(blocks).inputs == ["first"]
    seen.set()
    assert texts(blocks) == ["second"]
    feeder.join()


def test_what_is_not_there_or_not_a_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        list(formats.read([str(tmp_path / "none")], LINES))
    with pytest.raises(InputError, match="directory"):
        list(formats.read([str(tmp_path)], LINES))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_file_error(tmp_path):
    path = tmp_path / "secret"
    path.write_text("x")
    path.chmod(0)
    with pytest.raises(FileError):
        list(formats.read([str(path)], LINES))


# Fields and templates -------------------------------------------------------------------------


def field(**options) -> TextField:
    return TextField(ReadOptions(**options))


def test_several_fields_are_joined_by_lines_or_by_a_template():
    row = {"title": "T", "body": "B", "n": 1}
    assert field(text_fields=("title", "body"))(row) == "T\nB"
    assert field(template="{title} - {body} {{x}}")(row) == "T - B {x}"


def test_a_template_knows_escapes_and_refuses_unknown_ones():
    r"""#221: the help's own example is "{title}\\n{body}"."""
    row = {"title": "T", "body": "B"}
    assert field(template=r"{title}\n{body}\t\\n{{}}")(row) == "T\nB\t\\n{}"
    assert field(template="{title}\n{body}")(row) == "T\nB"
    for template in (r"{title}\d", "{title}\\"):
        with pytest.raises(UsageError, match="unknown escape"):
            field(template=template)


def test_a_name_with_dots_reaches_into_objects_and_a_field_of_that_name_wins():
    """#223"""
    row = {
        "doc": {"text": "inner", "a.b": {"c": "deep"}, "n": 1},
        "a.b": "literal",
        "a": {"b": "x"},
    }
    assert field(text_fields=("doc.text",))(row) == "inner"
    assert field(text_fields=("a.b", "doc.a.b.c"))(row) == "literal\ndeep"
    assert field(template="{doc.text}!")(row) == "inner!"
    with pytest.raises(ValueError, match=r"no field 'doc\.txt'"):
        field(text_fields=("doc.txt",))(row)
    with pytest.raises(ValueError, match=r"'doc\.n' holds a number"):
        field(text_fields=("doc.n",))(row)


@pytest.mark.parametrize("form", ["lines", "text", "argument"])
def test_plain_texts_have_fields_too(form, tmp_path):
    """#221"""
    (tmp_path / "a.txt").write_text("hello")

    def inputs(**options):
        if form == "argument":
            blocks = formats.from_texts(["hello"], ReadOptions(**options))
        else:
            blocks = formats.read([str(tmp_path / "a.txt")], ReadOptions(format=form, **options))
        (block,) = blocks
        assert orjson.loads(block.rows.json()[0])["text"] == "hello"
        return block.inputs

    assert inputs(template=r"query: {text}\n{index}") == ["query: hello\n0"]
    assert inputs(text_fields=("index", "text")) == ["0\nhello"]
    if form == "text":
        assert inputs(template="{path}: {text}") == [f"{tmp_path / 'a.txt'}: hello"]
    for options in (
        {"template": "{title}"}, {"text_fields": ("nope",)}, {"id_field": "nope"},
        {"columns": ("nope",)},
    ):  # fmt: skip
        with pytest.raises(UsageError, match="has no field") as caught:
            inputs(**options)
        assert "index" in caught.value.hint


def test_token_arrays_have_an_index_to_go_by_and_no_other_field():
    """#221"""
    (block,) = read_bytes(b"[1,2]\n", ReadOptions(format="tokens", id_field="index"))
    assert block.rows.ids("index") == [0]
    for options in ({"id_field": "nope"}, {"columns": ("text",)}):
        with pytest.raises(UsageError, match="has no field"):
            read_bytes(b"[1,2]\n", ReadOptions(format="tokens", **options))


def test_a_template_reaches_no_attributes():
    with pytest.raises(ValueError, match="missing"):
        field(template="{title.__class__}")({"title": "T"})


@pytest.mark.parametrize("template", ["no fields", "{", "a } {title}", "{}", "{title"])
def test_a_template_that_cannot_be_meant_is_refused(template):
    with pytest.raises(UsageError):
        field(template=template)


def test_a_field_of_a_template_that_is_no_text_is_named():
    with pytest.raises(ValueError, match="'n' holds a number"):
        field(template="{title} {n}")({"title": "T", "n": 1})


HEARING = """
import _thread, threading, time
from io import BufferedReader
from tovec.formats.source import StandardInput
def later():
    time.sleep(0.3)
    _thread.interrupt_main()  # like a signal, but no system call is interrupted
threading.Thread(target=later, daemon=True).start()
{}
"""


@pytest.mark.parametrize(
    "reading", ["StandardInput().read(9)", "BufferedReader(StandardInput()).read1()"]
)
def test_a_signal_that_comes_just_before_a_read_is_heard(reading):
    with subprocess.Popen(
        [sys.executable, "-c", HEARING.format(reading)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:  # its input stays open, and nothing comes
        assert child.wait(60) != 0
        assert b"KeyboardInterrupt" in child.stderr.read()
