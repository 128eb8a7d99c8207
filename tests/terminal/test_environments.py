"""Poor environments, as cron, containers and odd terminals have them: everything still works."""

import json
import os
import subprocess
import sys

import pytest

from tests.terminal.console import Console

BARE = {"PATH": "/usr/bin:/bin"}


def bare(*arguments: str, env: dict[str, str] | None = None, **more):
    more.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(
        [sys.executable, "-m", "tovec", *arguments],
        env={**BARE, **(env or {})},
        capture_output="stderr" not in more,
        timeout=60,
        check=False,
        **more,
    )


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"LANG": "C", "LC_ALL": "C"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LANG": "xx_XX.nonsense"},
        {"HOME": ""},
        {"HOME": "/nonexistent"},
        {"HOME": "/dev/null", "XDG_CONFIG_HOME": "/dev/null"},
        {"TERM": "dumb"},
        {"TERM": "no-such-terminal", "COLUMNS": "0"},
        {"COLUMNS": "x", "LINES": "-1"},
        {"NO_COLOR": "1"},
        {"FORCE_COLOR": "1"},
        {"TMPDIR": "/nonexistent"},
    ],
    ids=str,
)
def test_every_command_works_with_next_to_no_environment(env):
    """#140"""
    done = bare("embed", "-p", "local", "héllo ☃", env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["text"] == "héllo ☃"
    for arguments in (["models"], ["config", "-p", "local"], ["embed", "-h"], ["--help"]):
        done = bare(*arguments, env=env)
        assert (done.returncode, done.stderr) == (0, b""), arguments
        assert done.stdout


def test_an_ascii_terminal_gets_escapes_and_no_traceback():
    """#188"""
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TERM": "vt100"}
    command = [sys.executable, "-m", "tovec", "embed", "-p", "local", "snowman ☃"]
    with Console(command, {**BARE, **env}) as console:
        assert console.end() == 0
        assert b"snowman \\u2603" in console.seen


def test_closed_standard_files_are_no_error(tmp_path):
    """#133"""
    output = tmp_path / "out.jsonl"
    program = f'"{sys.executable}" -m tovec embed -p local -o "{output}" hello'
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(["sh", "-c", f"{program} --force {closed}"], timeout=60, check=False)
        assert done.returncode == 0, closed
        assert json.loads(output.read_text())["text"] == "hello"


def test_closed_stdin_without_texts_is_an_empty_input():
    program = f'"{sys.executable}" -m tovec embed -p local'
    done = subprocess.run(
        ["sh", "-c", f"{program} <&-"], capture_output=True, timeout=60, check=False
    )
    assert done.returncode in (0, 2)
    assert b"Traceback" not in done.stderr


def test_stderr_in_a_file_has_whole_lines_and_no_escapes(tmp_path):
    """#141"""
    with (tmp_path / "log").open("wb") as log:
        done = bare(
            "embed", "-v", "-p", "opnai", "x", env={"FORCE_COLOR": "1"}, stderr=log, stdout=log
        )
    said = (tmp_path / "log").read_text()
    assert done.returncode == 2
    assert "\x1b" not in said
    assert said.endswith("\n") and len(said.splitlines()) <= 3


@pytest.mark.parametrize(("rows", "columns"), [(24, 80), (50, 200), (24, 40)])
def test_no_line_of_the_short_view_is_wider_than_the_terminal(rows, columns):
    """#141"""
    command = [sys.executable, "-m", "tovec", "embed", "-p", "local", "word " * 60, "短い" * 60]
    env = {**os.environ, "TERM": "xterm", "LANG": "C.UTF-8"}
    env.pop("COLUMNS", None)
    with Console(command, env, rows, columns) as console:
        assert console.end() == 0
    from rich.cells import cell_len

    lines = console.seen.decode().splitlines()
    assert len(lines) == 3
    assert all(cell_len(line) <= columns for line in lines)


@pytest.mark.parametrize("columns", [76, 80, 200])
@pytest.mark.parametrize(
    "arguments", [("models",), ("models", "--providers"), ("config", "-p", "openai")], ids=" ".join
)
def test_tables_fit_the_terminal(columns, arguments):
    env = {**BARE, "TERM": "xterm", "LANG": "C.UTF-8"}
    with Console([sys.executable, "-m", "tovec", *arguments], env, 24, columns) as console:
        assert console.end() == 0
    lines = console.seen.decode().splitlines()
    assert len(lines) > 10
    assert max(map(len, lines)) <= columns
    assert all(line.split() for line in lines)


def test_a_table_in_a_pipe_is_not_cut():
    done = bare("models", "--providers", env={"COLUMNS": "60"})
    assert "…" not in done.stdout.decode()
    assert b"https://generativelanguage.googleapis.com/v1beta/openai" in done.stdout


def test_a_dumb_terminal_and_no_color_get_no_escapes():
    """#141"""
    for env in ({"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}):
        with Console([sys.executable, "-m", "tovec", "embed", "--help"], {**BARE, **env}) as one:
            assert one.end() == 0
            assert b"\x1b" not in one.seen


def test_a_terminal_gets_bold_headings():
    command = [sys.executable, "-m", "tovec", "embed", "--help"]
    with Console(command, {**BARE, "TERM": "xterm"}) as console:
        assert console.end() == 0
        assert b"\x1b[1mInput:\x1b[0m" in console.seen


def test_ctrl_c_ends_by_the_signal_and_says_nothing_but_what_is_needed():
    command = [sys.executable, "-m", "tovec", "embed", "-v", "-p", "local", "-f", "-"]
    with Console(command, {**os.environ, "TERM": "xterm"}) as console:
        console.type("hello\r")
        console.wait_for(b"dims  values")
        console.type("\x03")
        assert console.end() == -2
        assert b"Traceback" not in console.seen


def test_the_bar_of_a_batch_stays_while_requests_come_and_go(tmp_path):
    """Events that are not said at this verbosity once took the bar away until the next answer."""
    from tests.servers.loopback import Loopback

    rows = tmp_path / "rows.txt"
    rows.write_text("".join(f"{number}\n" for number in range(20_000)))
    with Loopback(latency=0.2, dimensions=8) as server:
        arguments = ["batch", rows, "-o", tmp_path / "o.npy", "-m", "m", "--concurrency", "1"]
        command = [sys.executable, "-m", "tovec", *map(str, arguments)]
        command += ["--base-url", server.base_url]
        with Console(command, {**os.environ, "TERM": "xterm"}) as console:
            assert console.end() == 0
    drawn = console.seen.split(b"\r\x1b[2K")
    bars = [part for part in drawn if b"rows" in part and b"written" not in part]
    assert len(bars) > 3
    # Taken away once for each thing that is said, the summary, and not between two bars.
    assert drawn.count(b"") <= 3
    assert console.seen.decode().splitlines()[-1].count("20,000 rows written") == 1
