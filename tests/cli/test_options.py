"""Every option of every command, on every input format: it changes the result, or it is refused.

The options come from the command tree, so that a new one without a case fails the test. An option
that may do nothing is in INERT, with the reason.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from tests.cli.inside import run
from tests.servers.loopback import Loopback

from tovec.cli.commands import program
from tovec.formats import INPUT_FORMATS

LONG = " ".join(f"word{i}" for i in range(60))
TEXTS = ["one", "naïve", LONG, "one"]
ROWS = [{"id": 7 + i % 2, "text": text, "other": f"x {i}"} for i, text in enumerate(TEXTS)]
FORMATS = [name for name in INPUT_FORMATS if name != "auto"]
NAMES = {
    "lines": "a.txt", "text": "a.txt", "jsonl": "a.jsonl", "csv": "a.csv", "tsv": "a.tsv",
    "json": "a.json", "parquet": "a.parquet", "arrow": "a.arrow", "tokens": "a.tok",
}  # fmt: skip
EXPLICIT = ("text", "tokens")  # formats that no file name says


class Case(NamedTuple):
    """An option with a value, and what stands beside it in both runs."""

    with_it: tuple[str, ...]
    beside: tuple[str, ...] = ()
    data: str = "clean"  # or "dirty", which holds a byte that is not UTF-8


INPUT_CASES: dict[str, Case] = {
    "--input-format": Case(("--input-format", "lines")),
    "--null": Case(("-0",)),
    "--text-field": Case(("--text-field", "other")),
    "--template": Case(("--template", "{text}!")),
    "--query-template": Case(("--query-template", "{text}!")),
    "--id-field": Case(("--id-field", "id")),
    "--encoding": Case(("--encoding", "latin-1")),
    "--encoding-errors": Case(("--encoding-errors", "replace"), data="dirty"),
    "--glob": Case(("--glob", "b*")),
    "--csv-types": Case(("--csv-types", "text")),
    "--delimiter": Case(("--delimiter", ";")),
    "--no-header": Case(("--no-header",)),
    "--csv-quoting": Case(("--csv-quoting", "backslash")),
    "--long": Case(("--long", "truncate"), ("--chunk-tokens", "16")),
    "--chunk-tokens": Case(("--chunk-tokens", "16"), ("--long", "mean")),
    "--overlap": Case(("--overlap", "8"), ("--long", "mean", "--chunk-tokens", "16")),
    "--columns": Case(("--columns", "other")),
}
COMMANDS = {
    "embed": ("embed", "-p", "local", "-d", "4", "-f"),
    "batch": ("batch", "-p", "local", "-d", "4", "-o", "out.jsonl"),
    "similarity": ("similarity", "-p", "local", "query", "--format", "jsonl", "--in"),
}
LATER = "when requests are sent and for how long they are tried, not what comes back"
SHOWN = "what is said meanwhile, not the result; tests/cli/test_progress.py"
COMMON = "holds for every command in one place (signatures.flatten), tested with embed"
INERT: dict[tuple[str, str], str] = {
    **{
        (command, option): LATER
        for command in ("embed", "batch", "similarity")
        for option in (
            "--timeout",
            "--max-retries",
            "--give-up-after",
            "--concurrency",
            "--rpm",
            "--tpm",
        )
    },
    ("batch", "--progress"): SHOWN,
    ("batch", "--force"): "as in embed, of the same output",
    ("batch", "--if-exists"): "as in embed; tests/cli/test_batch.py",
    ("similarity", "--id-field"): "names rows in tables, pictures and for --like",
    ("similarity", "--plot"): "a picture beside the result; tests/cli/test_plots.py",
    ("similarity", "--force"): "replaces a picture; tests/cli/test_plots.py",
    **{
        ("serve", option): "starts a server; tests/cli/test_serve.py"
        for option in (
            *("--host", "--port", "--api-key-env", "--cors"),
            *("--provider", "--model", "--prompt", "--alias"),
        )
    },
    **{
        (command, option): COMMON
        for command in ("tovec", "batch", "similarity", "models", "serve", "config", "completion")
        for option in ("--verbose", "--quiet", "--color", "--config", "--log-format", "--help")
    },
    ("embed", "--color"): "colours on a terminal; tests/terminal/test_environments.py",
    ("embed", "--help"): "prints the help; tests/cli/test_help.py",
    ("tovec", "--version"): "prints the version; tests/cli/test_help.py",
}


ROW = "{in}/clean/jsonl/a.jsonl"
BAD = "{in}/dirty/jsonl/a.jsonl"
ASK = ("--base-url", "{server}", "-m", "m")
ENDPOINT = {
    "--provider": ("-p", "local"),
    "--model": ("-m", "other"),
    "--base-url": ("--base-url", "{server}/nowhere"),
    "--url": ("--url", "{server}/nowhere"),
    "--dimensions": ("-d", "4"),
    "--encoding-format": ("--encoding-format", "float"),
    "--user": ("--user", "somebody"),
    "--prompt": ("--prompt", "query: "),
    "--extra": ("--extra", "a=b"),
}
TIMING = {
    "--timeout": ("--timeout", "9"),
    "--max-retries": ("--max-retries", "1"),
    "--give-up-after": ("--give-up-after", "9"),
    "--concurrency": ("--concurrency", "2"),
    "--rpm": ("--rpm", "9"),
    "--tpm": ("--tpm", "9"),
}
EMBED = ("embed", "-p", "local", "-d", "4", "-f", ROW)
WIDE = ("embed", "-p", "local", "-f", ROW)
CUT = ("--truncate-dim", "2")
BATCH = ("batch", "-p", "local", "-d", "4", ROW, "-o", "out.jsonl")
SEARCH = ("similarity", "-p", "local", "query", "--in", ROW, "--format", "jsonl")
ROWS_ALONE = ("similarity", "-p", "local", "--in", ROW, "--format", "jsonl")
NOTED = (*EMBED, "--id-field", "id")  # a warning: ids appear more than once

Single = tuple[tuple[str, ...], tuple[str, ...]]  # a command line, and what is added to it
SINGLE: dict[str, dict[str, Single]] = {
    "embed": {
        **{name: (("embed", *ASK, "hello"), added) for name, added in ENDPOINT.items()},
        "--file": (("embed", "-p", "local"), ("-f", ROW)),
        "--output": (EMBED, ("-o", "out.jsonl")),
        "--format": ((*EMBED, "-o", "out"), ("--format", "parquet")),
        "--dtype": (EMBED, ("--dtype", "float16")),
        "--parquet-list": ((*EMBED, "-o", "o.parquet"), ("--parquet-list", "plain")),
        "--also": (WIDE, ("--also", "ubinary")),
        "--truncate-dim": (WIDE, ("--truncate-dim", "64")),
        "--force-truncate": (("embed", *ASK, "-f", ROW, *CUT), ("--force-truncate",)),
        "--force": ((*EMBED, "-o", "out.jsonl"), ("--force",)),
        "--if-exists": ((*EMBED, "-o", "out.jsonl"), ("--if-exists", "replace")),
        "--verbose": (("embed", *ASK, "hello"), ("-vv",)),
        "--quiet": (NOTED, ("-q",)),
        "--config": (("embed", "-p", "local", "hello"), ("--config", "{in}/config.toml")),
        "--log-format": (NOTED, ("--log-format", "json")),
    },
    "batch": {
        **{
            name: (("batch", *ASK, ROW, "-o", "out.jsonl"), added)
            for name, added in ENDPOINT.items()
        },
        "--output": (BATCH[:-2], ("-o", "out.jsonl")),
        "--format": ((*BATCH[:-1], "out"), ("--format", "parquet")),
        "--dtype": (BATCH, ("--dtype", "float16")),
        "--parquet-list": ((*BATCH[:-1], "o.parquet"), ("--parquet-list", "plain")),
        "--also": (("batch", *WIDE[1:3], ROW, "-o", "out.jsonl"), ("--also", "ubinary")),
        "--truncate-dim": (BATCH, ("--truncate-dim", "2")),
        "--force-truncate": (("batch", *ASK, ROW, "-o", "out.jsonl", *CUT), ("--force-truncate",)),
        "--int8-scale": (
            (*BATCH[:-1], "out.parquet", "--dtype", "int8"),
            ("--int8-scale", "dimension"),
        ),
        "--dry-run": (BATCH, ("--dry-run",)),
        "--status": ((*BATCH, "--keep-job"), ("--status",)),
        "--repair": (BATCH, ("--repair",)),
        "--job-dir": ((*BATCH, "--keep-job"), ("--job-dir", "job.tovec")),
        "--keep-job": (BATCH, ("--keep-job",)),
        "--max-cost": (("batch", *ASK, ROW, "-o", "out.jsonl"), ("--max-cost", "1")),
        "--max-tokens": (BATCH, ("--max-tokens", "1")),
        "--on-error": ((*BATCH[:-3], BAD, *BATCH[-2:]), ("--on-error", "stop")),
        "--rejects": ((*BATCH[:-3], BAD, *BATCH[-2:]), ("--rejects", "bad.jsonl")),
        "--rows-per-file": ((*BATCH[:-1], "out"), ("--rows-per-file", "1")),
        "--stats": (BATCH, ("--stats", "stats.json")),
        "--verify": (BATCH, ("--verify", "100%")),
    },
    "similarity": {
        **{name: (("similarity", *ASK, "a", "b"), added) for name, added in ENDPOINT.items()},
        "--file": (SEARCH, ("-f", "{in}/clean/lines/a.txt")),
        "--in": (("similarity", "-p", "local", "a", "b"), ("--in", ROW)),
        "--job-dir": (SEARCH, ("--job-dir", "job.tovec")),
        "-k": (SEARCH, ("-k", "1")),
        "--rescore": (SEARCH, ("--rescore", "2")),
        "--like": ((*SEARCH, "--id-field", "other"), ("--like", "x 0")),
        "--label-each": (SEARCH, ("--label-each",)),
        "--pairs": (ROWS_ALONE, ("--pairs",)),
        "--outliers": (ROWS_ALONE, ("--outliers",)),
        "--diversity": (ROWS_ALONE, ("--diversity",)),
        "--clusters": (ROWS_ALONE, ("--clusters", "2")),
        "--metric": (SEARCH, ("--metric", "euclidean")),
        "--min": (SEARCH, ("--min", "0.5")),
        "--max": ((*SEARCH, "--metric", "euclidean"), ("--max", "0.5")),
        "--format": (SEARCH, ("--format", "tsv")),
    },
    "models": {
        **{name: (("models",), added) for name, added in {**ENDPOINT, **TIMING}.items()},
        "--providers": (("models",), ("--providers",)),
        "--remote": (("models", "--format", "json"), ("--remote", *ASK[:2])),
        "--format": (("models",), ("--format", "json")),
    },
    "config": {
        **{name: (("config",), added) for name, added in {**ENDPOINT, **TIMING}.items()},
        "--format": (("config",), ("--format", "json")),
        "--vectors": (("config",), ("--vectors",)),
    },
}


def long_name(names: Sequence[str]) -> str:
    return max(names, key=len)


def options() -> Iterator[tuple[str, str]]:
    """Yield command and option of the whole program."""
    tree = program()
    for command in (tree, *tree.commands):
        for one in command.options:
            name = "--help" if one.names[-1] == "-h" else long_name(one.names)
            yield command.name.removeprefix("tovec ").strip() or "tovec", name


def stored(name: str, rows: list[dict], *, dirty: bool) -> bytes:
    """Return rows as a file of a format."""
    texts = [row["text"] for row in rows]
    mark = {"csv": ",", "tsv": "\t"}.get(name)
    if name == "tokens":
        data = "".join(f"{[1 + len(text), *range(len(text))]}\n" for text in texts).encode()
    elif name == "jsonl":
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    elif name == "json":
        data = json.dumps(rows, ensure_ascii=False, indent=1).encode()
    elif mark is not None:
        lines = [
            mark.join(rows[0]),
            *(mark.join(f'"{one}"' for one in row.values()) for row in rows),
        ]
        data = "\n".join([*lines, ""]).encode()
    else:
        data = "\n".join([*texts, ""]).encode()
    return data.replace("ï".encode(), b"\xff") if dirty else data


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """Write every format, clean and dirty, a file and a directory of two each."""
    place = tmp_path_factory.mktemp("inputs")
    for data in ("clean", "dirty"):
        for name in FORMATS:
            folder = place / data / name
            folder.mkdir(parents=True)
            for letter, rows in (("a", ROWS), ("b", ROWS[:2])):
                path = folder / NAMES[name].replace("a", letter, 1)
                if name == "parquet":
                    pq.write_table(pa.Table.from_pylist(rows), path)
                elif name == "arrow":
                    pyarrow.feather.write_feather(pa.Table.from_pylist(rows), path)
                else:
                    path.write_bytes(stored(name, rows, dirty=data == "dirty"))
    (place / "config.toml").write_text("dimensions = 2\n")
    return place


@pytest.fixture
def observe(monkeypatch):
    """Run a command in an empty directory; return everything that came of it.

    In memory, where the system has such a directory: nothing is said here of disks.
    """
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        yield partial(_observe, Path(place) / "there", monkeypatch)


def _observe(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    *arguments: object,
    before: Sequence[object] = (),
) -> tuple[int, bytes, bytes, dict[str, bytes]]:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    monkeypatch.chdir(place)
    if before:
        assert run(*before).code == 0
    done = run(*arguments)
    monkeypatch.chdir(place.parent)
    files = {
        str(path.relative_to(place)): b"" if ".tovec/" in str(path) else path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }
    said = re.sub(rb"^\S+Z |[0-9.]+ s\b|[0-9]+:[0-9]+", b"", done.err, flags=re.M)
    return done.code, done.out, said, files


def base_of(command: str, name: str, place: Path, *, directory: bool = False) -> tuple[str, ...]:
    path = place / name if directory else place / name / NAMES[name]
    format_is = ("--input-format", name) if name in EXPLICIT else ()
    return (*COMMANDS[command], str(path), *format_is)


def test_every_option_has_a_case_or_a_reason():
    """#222"""
    for command, option in options():
        cases = [
            option in INPUT_CASES and command in COMMANDS,
            option in SINGLE.get(command, {}),
            (command, option) in INERT,
        ]
        assert any(cases), f"{command} {option}: give it a case here, or a reason"
    assert set(INERT) <= set(options())


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("command", COMMANDS)
def test_an_input_option_acts_on_a_format_or_is_refused(command, name, inputs, observe):
    """#222"""
    known = {option for one, option in options() if one == command}
    bases: dict[tuple[object, ...], object] = {}
    silent = []
    for option, case in INPUT_CASES.items():
        if option not in known or (command, option) in INERT:
            continue
        for directory in {False, option == "--glob"}:
            base = base_of(command, name, inputs / case.data, directory=directory)
            if option == "--input-format" and name in EXPLICIT:
                base = base[:-2]  # without it these are read as lines
            arguments = (*base, *case.beside)
            if arguments not in bases:
                bases[arguments] = observe(*arguments)
                # Else a difference would say nothing.
                assert bases[arguments] == observe(*arguments)
            extra = case.with_it
            if option == "--input-format" and name in ("lines", *EXPLICIT):
                extra = ("--input-format", "text" if name != "tokens" else "jsonl")
            if option == "--encoding" and name == "tokens":  # digits are the same in latin-1
                extra = ("--encoding", "utf-16")
            found = observe(*arguments, *extra)
            if found[0] != 2 and found == bases[arguments]:
                silent.append((option, found[0], found[2]))
    assert not silent


@pytest.mark.parametrize("command", ["embed", "similarity"])
def test_an_input_option_acts_on_arguments_or_is_refused(command, observe):
    """#222"""
    known = {option for one, option in options() if one == command}
    arguments = (command, "-p", "local", *TEXTS)
    silent = []
    for option, case in INPUT_CASES.items():
        if option in known:
            base = observe(*arguments, *case.beside)
            found = observe(*arguments, *case.beside, *case.with_it)
            if found[0] != 2 and found == base:
                silent.append(option)
    assert not silent


@pytest.mark.parametrize("command", SINGLE)
def test_an_option_acts_or_is_refused(command, inputs, observe):
    """#222: what it changes may be the result, a file, what is said, or what is sent."""
    silent = []
    bases: dict[tuple[str, ...], object] = {}
    with Loopback(dimensions=8) as server:
        places = {"{in}": str(inputs), "{server}": server.base_url}

        def seen(*arguments: str, again: bool) -> object:
            for name, place in places.items():
                arguments = tuple(one.replace(name, place) for one in arguments)
            before = len(server.ledger.entries)
            first = arguments[: -1 if again and arguments[-1] == "--force" else None]
            found = observe(*arguments, before=first if again else ())
            sent = [(one.path, one.body) for one in server.ledger.entries[before:]]
            return found, sent

        for option, (base, added) in SINGLE[command].items():
            again = option == "--force"
            if base not in bases:
                bases[base] = seen(*base, again=again)
                assert bases[base] == seen(*base, again=again)
            found = seen(*base, *added, again=again)
            if found[0][0] != 2 and found == bases[base]:
                silent.append((option, found[0][0]))
    assert not silent
