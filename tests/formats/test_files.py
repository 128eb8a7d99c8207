"""Whole files, directories and token arrays."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.formats.reading import as_json, problems, read_bytes, read_files, texts

from tovec.errors import InputError, UsageError


@pytest.fixture
def tree(tmp_path):
    for name in ("b.md", "a/z.md", "a/y.txt", "a.md", ".hidden.md", ".git/x.md", "c/d/e.md"):
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of\n{name}\n")
    (tmp_path / "docs" / "link").symlink_to(tmp_path / "docs" / "a")
    return tmp_path / "docs"


def below(tree, blocks) -> list[str]:
    return [row["path"].removeprefix(f"{tree}/") for row in as_json(blocks)]


# Whole files -----------------------------------------------------------------------------------


def test_a_whole_file_is_one_text_with_its_path(tree):
    blocks = read_files(tree / "b.md", tree / "a.md", format="text")
    assert as_json(blocks) == [
        {"index": 0, "path": str(tree / "b.md"), "text": "text of\nb.md\n"},
        {"index": 1, "path": str(tree / "a.md"), "text": "text of\na.md\n"},
    ]
    (block,) = read_bytes(b"one\n\ntwo", format="text")
    assert block.inputs == ["one\n\ntwo"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_file_is_read_to_the_last_character(text):
    blocks = read_bytes(text.encode(), format="text")
    wanted = text.removeprefix("\ufeff")
    if wanted.strip():
        assert texts(blocks) == [wanted]
    else:
        assert problems(blocks) == [("empty", 1, 0)]


def test_a_file_that_is_too_long_is_a_problem_and_the_next_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("tovec.formats.whole_files.MAX_RECORD_BYTES", 10)
    (tmp_path / "a").write_text("x" * 11)
    (tmp_path / "b").write_text("y")
    blocks = read_files(tmp_path / "a", tmp_path / "b", format="text")
    assert problems(blocks) == [("size", 1, 0)]
    assert [row["index"] for row in as_json(blocks)] == [1]


def test_a_file_that_is_not_text_is_a_problem_and_the_next_is_read(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"one\n\x89PNG")
    (tmp_path / "b").write_text("y")
    blocks = read_files(tmp_path / "a.bin", tmp_path / "b", format="text")
    assert problems(blocks) == [("encoding", 1, 0)]
    assert blocks[0].problems[0].reason == "byte 0x89 at byte 5 of the file is not UTF-8"
    assert texts(blocks) == ["y"]
    assert texts(read_files(tmp_path / "a.bin", format="text", encoding="latin-1"))


# Directories -----------------------------------------------------------------------------------


def test_a_directory_stands_for_its_files_in_the_order_of_their_paths(tree):
    """#163"""
    expected = ["a/y.txt", "a/z.md", "a.md", "b.md", "c/d/e.md"]
    assert below(tree, read_files(tree, format="text")) == expected


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("*.md", ["a/z.md", "a.md", "b.md", "c/d/e.md"]),
        ("a/*", ["a/y.txt", "a/z.md"]),
        ("[ab].md", ["a.md", "b.md"]),
    ],
)
def test_a_glob_chooses_by_name_or_by_path(tree, glob, expected):
    assert below(tree, read_files(tree, format="text", glob=glob)) == expected


def test_each_file_of_a_directory_is_read_by_its_own_extension(tmp_path):
    (tmp_path / "a.csv").write_text("text\nfrom csv\n")
    (tmp_path / "b.jsonl").write_text('{"text": "from jsonl"}\n')
    (tmp_path / "c.txt").write_text("one\ntwo\n")
    blocks = read_files(tmp_path)
    assert texts(blocks) == ["from csv", "from jsonl", "one", "two"]
    assert [i for block in blocks for i in block.index] == [0, 1, 2, 3]


def test_a_directory_without_such_files_is_an_error(tree, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="has no files"):
        read_files(tmp_path / "none")
    with pytest.raises(InputError, match=r"has no file that matches \*\.rst"):
        read_files(tree, glob="*.rst")


# Tokens ----------------------------------------------------------------------------------------

arrays = st.lists(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5), max_size=20)


@given(arrays)
def test_token_arrays_come_once_in_order_and_unchanged(wanted):
    data = "\n".join(map(json.dumps, wanted)).encode()
    blocks = read_bytes(data, format="tokens")
    assert texts(blocks) == wanted
    assert as_json(blocks) == [{"index": i, "tokens": ids} for i, ids in enumerate(wanted)]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"[]", "empty"),
        (b"[1", "syntax"),
        (b"words", "syntax"),
        (b"5", "type"),
        (b'{"a": 1}', "type"),
        (b"[-1]", "type"),
        (b"[1.0]", "type"),
        (b"[true]", "type"),
        (b'["1"]', "type"),
        (b"[4294967296]", "type"),
    ],
)
def test_a_line_that_is_no_token_array_is_a_problem(line, kind):
    blocks = read_bytes(b"[1]\n\n" + line + b"\r\n[2]\n", format="tokens")
    assert texts(blocks) == [[1], [2]]
    assert problems(blocks) == [(kind, 3, 2)]
    assert (blocks[0].blank, blocks[0].index, blocks[0].lines) == (1, [0, 3], [1, 4])


def test_an_empty_file_of_tokens_keeps_its_columns():
    (block,) = read_bytes(b"", format="tokens")
    assert block.rows.arrow().schema.names == ["index", "tokens"]


def test_nul_separates_plain_texts_only():
    with pytest.raises(UsageError, match="-0 separates plain texts"):
        read_bytes(b"text\na\n", format="csv", null_separated=True)


def test_an_unknown_format_is_named():
    with pytest.raises(UsageError, match="xlsx"):
        read_bytes(b"", format="xlsx")


def test_what_a_run_writes_is_none_of_its_input(tmp_path):
    for name in ("a.txt", "out", "out.json", "out.tovec/log", "out.txt", "outer.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{name}\n")
    options = {"format": "lines", "ours": (str(tmp_path / "out"),)}
    assert texts(read_files(tmp_path, **options)) == ["a.txt", "out.txt", "outer.txt"]
    assert texts(read_files(tmp_path / "out", **options)) == ["out"]
