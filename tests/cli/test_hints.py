"""What newcomers type: the answer names what they mean, and never something else."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.inside import run


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["help"], "tovec COMMAND -h"),
        (["help", "embed"], "tovec COMMAND -h"),
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
