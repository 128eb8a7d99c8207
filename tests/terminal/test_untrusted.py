"""Text from outside comes out inert on a terminal, wherever it comes from."""

import os
import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.servers.documents import document_server
from tests.terminal.console import Console
from tovec.cli.terminal import safe

# Clears the screen, sets the title, colours; C1's own CSI; turns the direction; breaks the line.
NASTY = "a\x1b[2Jb\x1b]0;title\x07c\x9b31md\u202ee\u2066f\u2028g\rh\u200fi"
ACTING = re.compile("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u200f]")
BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@given(st.text(st.characters()))
def test_no_character_that_acts_survives(text):
    """#182"""
    shown = safe(text, 10_000)
    for character in shown:
        assert unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"}
        assert unicodedata.bidirectional(character) not in BIDI
    shown.encode()  # and no lone surrogate


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs"]), max_size=500))
def test_plain_text_of_every_script_is_left_as_it_is(text):
    assert safe(text) == text


@given(st.text(), st.integers(1, 50))
def test_what_is_cut_is_marked_and_no_longer_than_asked_for(text, limit):
    plain = [c for c in text if safe(c) == c]
    shown = safe("".join(plain), limit)
    assert len(shown) <= limit
    assert (shown[-1:] == "…") or shown == "".join(plain)


def on_terminal(*arguments: object, **env: str) -> str:
    """Run tovec on a terminal; give all that it showed there."""
    command = [sys.executable, "-m", "tovec", *map(str, arguments)]
    with Console(command, {**os.environ, "TERM": "xterm", "LANG": "C.UTF-8", **env}) as console:
        console.end()
        return console.seen.decode().replace("\r\n", "\n")


def inert(shown: str) -> None:
    assert shown.strip()
    found = ACTING.search(shown) or re.search("\r", shown)
    assert found is None, f"{found} in {shown!r}"


def test_texts_in_the_short_view():
    shown = on_terminal("embed", "-p", "local", NASTY.replace("\x00", ""))
    inert(shown)
    assert "a\\x1b[2Jb" in shown


def test_fields_of_rows_in_the_short_view(jsonl):
    """#182"""
    path = jsonl([{"text": NASTY, "index": NASTY, NASTY: NASTY}])
    inert(on_terminal("embed", "-p", "local", "-f", path))


@pytest.mark.parametrize(
    "arguments",
    [
        ("embed", "-p", NASTY, "hello"),
        ("embed", "-p", "local", "-m", NASTY, "hello"),
        ("embed", "-p", "local", "-f", NASTY),
        ("embed", "-p", "local", "--format", NASTY, "hello"),
        ("embed", "-p", "local", "--extra", NASTY, "hello"),
        ("embed", "-p", "local", "--columns", NASTY, "hello"),
        ("embed", "-p", "local", "--base-url", f"http://{NASTY}/", "hello"),
        ("embed", f"--{NASTY}", "hello"),
        ("--config", NASTY, "config"),
        ("models", NASTY),
        ("config", NASTY),
        (NASTY,),
    ],
    ids=lambda arguments: " ".join(arguments).replace(NASTY, "NASTY"),
)
def test_arguments_in_errors(arguments):
    """#182"""
    inert(on_terminal(*arguments))


@pytest.mark.parametrize("verbosity", ["-q", "-vv"])
def test_what_an_endpoint_says_in_an_error(verbosity):
    """#182"""
    error = {"error": {"message": NASTY, "type": NASTY, "code": NASTY, "param": NASTY}}
    with document_server("openai", errors=[(401, {}, error)] * 3) as (url, _):
        shown = on_terminal(
            "embed", verbosity, "--base-url", url, "-m", "m", "hello", TOVEC_API_KEY="k" * 20
        )
    inert(shown)
    assert "HTTP 401" in shown and "\\x1b[2J" in shown


def test_a_name_in_the_config_file(tmp_path):
    """#182"""
    path = tmp_path / "config.toml"
    escaped = "".join(f"\\u{ord(one):04x}" for one in NASTY)
    path.write_text(f'provider = "{escaped}"\nmodel = "{escaped}"\n')
    inert(on_terminal("--config", path, "config"))
    path.write_text(f'"{escaped}" = 1\n')
    inert(on_terminal("--config", path, "config"))


def test_a_bug_report_is_inert_names_its_next_step_and_has_no_local_variables(monkeypatch, capsys):
    """#170"""
    from tovec.cli import app
    from tovec.cli.reporting import Reporter

    def broken() -> None:
        secret = "-".join(["sk", "canary"])  # noqa: F841 - a local variable, not to be shown
        raise RuntimeError(NASTY)

    monkeypatch.setattr("tovec.cli.commands.build", lambda: lambda **_: broken())
    assert app.run(["embed"], Reporter()) == 70
    said = capsys.readouterr().err
    inert(said)
    assert 'sk-canary"' in said or "sk-canary" not in said.replace('secret = "sk-canary"', "")
    assert "this is a bug. Please report it" in said and "tovec --version" in said
