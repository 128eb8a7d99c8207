"""Odd values of options and config fields: a documented exit code, never a traceback."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.inside import run

from tovec.cli.commands import program
from tovec.endpoint.providers import _KNOWN as PROVIDER_FIELDS
from tovec.settings import Settings

ODD = (
    "", " ", "0", "-1", "1e999", "nan", "inf", "-inf", "99999999999999999999999", "1e-320", "1_0",
    "0x10", "٣", "true", "null", "[]", "{", "=", ",", ".", "..", "/", "-", "--", "x\udcff",
    "\x1b[31mred\x07", "a\nb", "\u202e", "x" * 70_000, "/dev/full", "/dev/zero", "nothing/there",
    "a=b", "http://[", "https//user:pa55word@h/v1", "user:pa55word@h", "x=99999999999999999999999",
    "x=\udcff", "\udcff=x", "x=NaN", 'x={"a":' * 500,
)  # fmt: skip
CODES = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
NOBODY = ("--base-url", "http://127.0.0.1:9/v1", "-m", "m", "--max-retries", "0")
BASES = {
    "embed": [("hello", "-p", "local"), ("hello", *NOBODY)],
    "batch": [("rows.jsonl", "-o", "out.jsonl", "-p", "local"), ("rows.jsonl", "-o", "x", *NOBODY)],
    "similarity": [("one", "two", "-p", "local"), ("one", "--in", "rows.jsonl", "-p", "local")],
    "models": [()],
    "config": [()],
    "completion": [()],
}
PART = 20  # of the values, each option meets one in so many in the suite


def cases() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Return each option that takes a value, with its command and what stands beside it."""
    for command in program().commands:
        for option in command.options:
            name = command.name.removeprefix("tovec ")
            for base in BASES.get(name, []) if option.metavar else []:
                yield name, option.names[-1], base


def check(*arguments: str) -> None:
    done = run(*arguments)
    said = done.err.decode(errors="replace")
    assert done.code in CODES, (arguments, said)
    assert "Traceback" not in said, (arguments, said)
    if any(word.startswith(("--base-url=", "--url=")) for word in arguments):
        assert "pa55word" not in said, (arguments, said)
    assert not {"\x1b", "\x07", "\u202e"} & set(said), (arguments, said)


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here" / "rows.jsonl").write_text('{"text":"a"}\n{"text":"b"}\n')


def try_options(part: int) -> None:
    for number, (command, option, base) in enumerate(cases()):
        for value in itertools.islice(ODD, number % part, None, part):
            check(command, *base, f"{option}={value}")


def test_an_odd_value_of_an_option_is_named_or_works() -> None:
    """#251"""
    try_options(PART)


@pytest.mark.long
def test_every_odd_value_of_every_option_is_named_or_works() -> None:
    """#251"""
    try_options(1)


VALUES = (
    '""', '" "', "0", "-1", "1e308", "nan", "inf", "-inf", "9" * 30, "9" * 5000, "true", "[]",
    "{}", "1979-05-27", '["a", 1]', "{a = 1}", r'"\u0000"', r'"\u001b[31m"', r'"a\r\nb: c"',
    r'"\u202e"', '"\U0010ffff"', f'"{"x" * 70_000}"', '"user:pa55word@h/v1"', '"//["',
    '"/dev/zero"', '".."',
)  # fmt: skip
FIELDS = tuple(name for name in Settings._fields if name not in ("providers", "origins"))


@pytest.mark.parametrize("field", [*FIELDS, "providers", "nonsense"])
def test_an_odd_value_in_the_config_is_named_or_works(field: str) -> None:
    """#251: what the command line would refuse, a config file must not slip in."""
    for value in VALUES:
        Path("c.toml").write_text(f"{field} = {value}\n")
        check("config", "--config", "c.toml")
        check("embed", "hello", "-p", "local", "--config", "c.toml")


@pytest.mark.parametrize("field", sorted(PROVIDER_FIELDS))
def test_an_odd_value_of_a_provider_is_named_or_works(field: str) -> None:
    """#251"""
    for value in VALUES:
        row = {"base_url": '"http://127.0.0.1:9/v1"', field: value}
        lines = "".join(f"{name} = {given}\n" for name, given in row.items())
        Path("c.toml").write_text(f"[providers.odd]\n{lines}")
        check("embed", "hi", "-p", "odd", "-m", "m", "--max-retries", "0", "--config", "c.toml")
