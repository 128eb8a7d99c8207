"""What reaches the endpoint of templates and fields, in every way to give a text."""

import json

import pytest
from tests.cli.inside import run
from tests.servers.loopback import Loopback


@pytest.fixture
def sent():
    """Run a command; return its outcome and the texts that the endpoint was sent."""
    with Loopback(dimensions=8) as server:

        def ask(command: str, *arguments: object, stdin: bytes = b""):
            before = len(server.ledger.entries)
            endpoint = ("--base-url", server.base_url, "-m", "m")
            done = run(command, *endpoint, *arguments, stdin=stdin)
            new = server.ledger.entries[before:]
            return done, [one for entry in new for one in json.loads(entry.body)["input"]]

        yield ask


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"title": "T1", "text": "one"}\n{"title": "T2", "text": "two"}\n')
    return path


PREFIX = ("--template", "query: {text}")


def test_a_template_reaches_arguments_lines_and_whole_files(sent, tmp_path):
    """#221"""
    path = tmp_path / "a.txt"
    path.write_text("hello\n")
    assert sent("embed", *PREFIX, "hello")[1] == ["query: hello"]
    assert sent("embed", *PREFIX, "-f", path)[1] == ["query: hello"]
    assert sent("embed", *PREFIX, stdin=b"hello\n")[1] == ["query: hello"]
    assert sent("embed", *PREFIX, "-0", stdin=b"hel\nlo\0")[1] == ["query: hel\nlo"]
    whole = sent("embed", *PREFIX, "-f", path, "--input-format", "text")
    assert whole[1] == ["query: hello\n"]
    done, texts = sent("batch", *PREFIX, path, "-o", tmp_path / "o.jsonl")
    assert (done.code, texts) == (0, ["query: hello"])
    assert json.loads((tmp_path / "o.jsonl").read_text())["text"] == "hello"


def test_the_example_of_the_help_works_as_it_is_printed(sent, rows):
    """#221"""
    assert sent("embed", "--template", r"{title}\n{text}", "-f", rows)[1] == ["T1\none", "T2\ntwo"]


def test_a_template_holds_for_rows_and_queries_unless_queries_have_their_own(sent, rows):
    """#224"""
    search = ("similarity", "ask", "--in", rows, "--format", "jsonl")
    done, texts = sent(*search, *PREFIX)
    assert texts == ["query: ask", "query: one", "query: two"]
    assert json.loads(done.out.splitlines()[0])["query"] == "ask"
    both = ("--template", "passage: {title} {text}", "--query-template", "query: {text}")
    assert sent(*search, *both)[1] == ["query: ask", "passage: T1 one", "passage: T2 two"]
    assert sent(*search, "--query-template", "query: {text}")[1] == ["query: ask", "one", "two"]
    labels = (*search, "--label-each", *both)
    assert sent(*labels)[1] == ["query: ask", "passage: T1 one", "passage: T2 two"]


def test_a_template_of_fields_that_queries_lack_names_the_option_for_them(sent, rows):
    """#224"""
    done, texts = sent("similarity", "ask", "--in", rows, "--template", "{title}")
    assert (done.code, texts) == (2, [])
    assert b"--query-template" in done.err
    plain = ("--template", "{title}", "--query-template", "{text}")
    assert sent("similarity", "ask", "--in", rows, *plain)[1] == ["ask", "T1", "T2"]


def test_a_text_field_is_about_the_rows_and_a_query_is_its_text(sent, rows, tmp_path):
    """#224: a query file of plain lines too, and an id field."""
    asked = tmp_path / "asked.txt"
    asked.write_text("from a file\n")
    search = ("--in", rows, "--text-field", "title", "--id-field", "title")
    done, texts = sent("similarity", "ask", "-f", asked, *search)
    assert (done.code, texts) == (0, ["ask", "from a file", "T1", "T2"])


def test_a_template_reaches_texts_that_are_compared_with_each_other(sent, rows):
    """#224"""
    done, texts = sent("similarity", "a", "b", "-f", rows, *PREFIX, "--format", "json")
    assert texts == [f"query: {one}" for one in ("a", "b", "one", "two")]
    assert json.loads(done.out)["texts"][:2] == ["a", "b"]
    pairs = ("similarity", *PREFIX, "--format", "jsonl")
    done, texts = sent(*pairs, stdin=b"a\tb\n")
    assert texts == ["query: a", "query: b"]
    (row,) = map(json.loads, done.out.splitlines())
    assert (row["a"], row["b"]) == ("a", "b")


def test_queries_of_stored_vectors_have_their_template(sent, rows, tmp_path):
    """#224"""
    stored = tmp_path / "o.jsonl"
    assert sent("embed", "-f", rows, "-o", stored)[0].code == 0
    search = ("similarity", "ask", "--in", stored)
    assert sent(*search, *PREFIX)[1] == ["query: ask"]
    assert sent(*search, "--query-template", "q: {text}")[1] == ["q: ask"]
    for options in (
        (*PREFIX, "--query-template", "{text}"), ("--delimiter", ";"), ("--encoding", "latin-1"),
        ("--input-format", "lines"), ("-0",), ("--glob", "*"),
    ):  # fmt: skip
        done, texts = sent(*search, *options)
        assert (done.code, texts) == (2, []), options
    for options in (("--pairs", *PREFIX), ("--pairs", "--query-template", "{text}")):
        done, texts = sent("similarity", "--in", stored, *options)
        assert (done.code, texts) == (2, []), options


def test_an_empty_text_is_never_sent_and_said(sent):
    """#153: rejected where other rows can do without it, an error where they cannot."""
    done, texts = sent("embed", "", "one", " ")
    assert (done.code, texts) == (3, ["one"])
    assert b"2 rows were left out; the first: argument 1: the text is empty" in done.err
    assert json.loads(done.out)["index"] == 1
    done, texts = sent("embed", "")
    assert (done.code, texts) == (3, [])
    for arguments in (("", "b"), ("b", " ")):
        done, texts = sent("similarity", *arguments)
        assert (done.code, texts) == (6, [])
        assert b"the text is empty" in done.err


def test_in_a_batch_rows_that_are_not_in_the_encoding_go_to_the_rejects(sent, tmp_path):
    """#218: and the others are written; in embed the run ends at the row."""
    for name, row in (("a.txt", b"%b\n"), ("a.csv", b"%b,1\n"), ("a.jsonl", b'{"text":"%b"}\n')):
        path, target = tmp_path / name, tmp_path / f"{name}.out.jsonl"
        header = b"text,n\n" * name.endswith("csv")
        path.write_bytes(header + row % b"one" + row % b"t\xffo" + row % b"three")
        done, texts = sent("batch", path, "-o", target)
        assert (done.code, texts) == (3, ["one", "three"]), done.err
        (reject,) = (tmp_path / f"{target.name}.rejects.jsonl").read_text().splitlines()
        assert "byte 0xff at byte" in reject
        assert len(target.read_text().splitlines()) == 2
        done, texts = sent("embed", "-f", path)
        assert done.code == 6
        assert b"byte 0xff at byte" in done.err and b"--encoding" in done.err


def test_a_batch_accounts_for_every_row_it_read(tmp_path):
    """#217 #218: written, rejected and blank are all there is, in every format."""
    kinds = [b"one", b"t\xffo", b"", b"three", b" ", b"caf\xc3\xa9"]
    for end in (b"\n", b"\r\n", b"\r"):
        for name, row in (("a.txt", b"%b"), ("a.csv", b"%b,1"), ("a.jsonl", b'{"text":"%b"}')):
            header = [b"text,n"] * name.endswith("csv")
            lines = [*header, *(row % one for one in kinds), b"", row % b"last"]
            (tmp_path / name).write_bytes(b"".join(line + end for line in lines))
            paths = (tmp_path / name, "-o", tmp_path / "o.jsonl", "--stats", tmp_path / "s.json")
            done = run("batch", "-p", "local", *paths, "--force")
            assert done.code == 3, done.err
            stats = json.loads((tmp_path / "s.json").read_bytes())
            written = len((tmp_path / "o.jsonl").read_bytes().splitlines())
            rejects = (tmp_path / "o.jsonl.rejects.jsonl").read_bytes().splitlines()
            counts = (stats["rows_written"], stats["rows_rejected"], stats["blank_lines"])
            assert counts[:2] == (written, len(rejects))
            assert sum(counts) == len(lines) - len(header)
            assert written == 4
