"""What newcomers type: the answer names what they mean, and never something else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.cli.inside import run

import tovec
from tovec.cli import hints
from tovec.cli.commands import program


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["help"], "tovec COMMAND -h"),
        (["help", "embed"], "tovec embed -h"),
        (["help", "nothing"], "tovec COMMAND -h"),
        (["embed", "--top-k", "3", "hi"], "tovec similarity has -k N"),
        (["batch", "--input", "a.txt"], "tovec batch FILE -o OUTPUT"),
        (["embed", "-o"], "see: tovec embed -h"),
        (["config", "--top-k"], "tovec similarity has -k N"),
        (["version"], "tovec --version"),
        (["search", "x"], "tovec similarity TEXT --in FILE"),
        (["hello"], "tovec embed TEXT"),
        (["embde"], "did you mean embed?"),
        (["embed", "--local", "hi"], "-p local"),
        (["embed", "-m", "local", "hi"], "-p local"),
        (["embed", "-i", "a.txt"], "-f PATH"),
        (["embed", "--input", "a.txt"], "-f PATH"),
        (["embed", "--field", "x"], "--text-field"),
        (["similarity", "a", "b", "--top-k", "3"], "-k N"),
        (["embed", "--dimension", "3", "hi"], "did you mean --dimensions?"),
    ],
)
def test_what_newcomers_type_gets_the_real_name(words, hint):
    done = run(*words)
    assert done.code == 2
    assert hint in done.err.decode()
    assert "did you mean --output" not in done.err.decode()


@pytest.mark.parametrize("command", program().commands, ids=lambda one: one.name)
def test_an_advised_option_exists_in_the_command(command):
    """`tovec embed --top-k 3` was told of -k, which only `tovec similarity` has."""
    known = [name for option in command.options for name in option.names]
    for typed in hints._OPTIONS:
        if typed not in known:
            advised = hints.named_options(hints.option_hint(typed, known))
            assert set(advised) <= set(known), f"{command.name} {typed}"


def test_every_advice_names_options_that_some_command_has():
    known = {name for one in program().commands for option in one.options for name in option.names}
    for advices in hints._OPTIONS.values():
        for advice in advices:
            assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", advice)) <= known


def test_many_file_names_given_as_texts_are_said_in_a_few_lines(tmp_path, monkeypatch):
    """A shell's * names hundreds of files."""
    monkeypatch.chdir(tmp_path)
    for number in range(20):
        Path(f"a {number}.txt").write_text("x\n")
    done = run("embed", *sorted(path.name for path in tmp_path.iterdir()), "-p", "local")
    said = done.err.decode().splitlines()
    assert len(said) == 4
    assert "-f 'a 0.txt' reads the file" in said[0]
    assert "17 more texts name files" in said[3]


def test_only_one_module_looks_for_near_names():
    """Each had its own measure, the loosest of which advised --output for --input."""
    root = Path(tovec.__file__).parent
    using = [path.stem for path in root.rglob("*.py") if "difflib" in path.read_text()]
    assert using == ["suggest"]


@pytest.mark.parametrize("words", [["--key", "sk-SECRET"], ["--api-key=sk-SECRET"]])
@pytest.mark.parametrize("command", ["embed", "batch", "similarity", "models", "config", "serve"])
def test_a_key_on_the_command_line_is_refused_and_not_repeated(command, words):
    """#168: others can read a command line; it must not be in a log as well."""
    done = run(command, *words, "hi")
    assert done.code == 2
    assert b"keys are never options" in done.err
    assert b"SECRET" not in done.err


@pytest.mark.parametrize("command", ["embed", "similarity"])
def test_a_file_name_given_as_a_text_is_said(command, tmp_path, monkeypatch):
    """`tovec batch a.txt` takes a file: the same word means a text here."""
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("x\n")
    done = run(command, "a.txt", "b.txt", "-p", "local")
    assert done.code == 0
    assert b"'a.txt' is embedded as text; -f a.txt reads the file" in done.err
    assert b"b.txt" not in done.err


@pytest.mark.parametrize("origin", ["app.example", "https://app.example/", "https://a b", ""])
def test_an_origin_that_no_browser_sends_is_refused(origin):
    """It could never match, and the option would do nothing."""
    done = run("serve", "--cors", origin)
    assert done.code == 2
    assert b"--cors takes an origin" in done.err
