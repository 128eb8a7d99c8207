"""Help: one screen with -h, a line for each option with --help, and a way on for each typo."""

import subprocess
import sys

import pytest

from tovec.cli.command_tree import Command
from tovec.cli.commands import program

PROGRAM = program()
ALL = [PROGRAM, *PROGRAM.commands]
each = pytest.mark.parametrize("command", ALL, ids=lambda command: command.name)


@pytest.fixture
def shown(tovec):
    def run(command: Command, *arguments: str, columns: int = 80, **env: str) -> str:
        environ = {"COLUMNS": str(columns), "NO_COLOR": "", "TERM": "xterm", **env}
        done = tovec(*command.name.split()[1:], *arguments, env=environ)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode()

    return run


@each
def test_the_short_help_fits_a_terminal_of_80_by_24(command, shown):
    lines = shown(command, "-h").splitlines()
    assert len(lines) <= 23  # the prompt takes one
    assert all(len(line) <= 80 for line in lines)


@each
def test_the_long_help_has_the_summary_the_examples_and_a_line_for_each_option(command, shown):
    text = shown(command, "--help")
    flat = " ".join(text.split())
    assert " ".join(command.summary.split()) in flat
    assert all(example.splitlines()[0] in text for example in command.examples)
    for option in (*command.arguments, *command.options):
        assert option.spelling in text
        assert option.help and " ".join(option.help.split()) in flat


@each
def test_every_command_has_an_example_that_fits_the_terminal(command):
    assert command.examples
    assert all(len(line) <= 78 for example in command.examples for line in example.splitlines())


@each
def test_examples_stand_before_the_options(command, shown):
    text = shown(command, "--help")
    assert text.index("Examples:") < text.index("\n\nGeneral:")


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_help_follows_the_width_up_to_a_hundred_columns(columns, shown):
    text = shown(PROGRAM.commands[0], "--help", columns=columns)
    explained = [line for line in text.splitlines() if line.startswith(" " * 28)]
    assert 28 < max(map(len, explained)) <= max(49, min(columns, 100))


def test_headings_are_bold_where_asked_for_and_nowhere_else(shown):
    embed = PROGRAM.commands[0]
    assert "\x1b" not in shown(embed, "--help")
    assert "\x1b[1mInput:\x1b[0m" in shown(embed, "--color", "always", "--help")
    assert "\x1b" not in shown(embed, "--help", FORCE_COLOR="1", NO_COLOR="1")


def test_tovec_alone_shows_how_to_start_on_stderr(tovec):
    done = tovec()
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"echo hello | tovec embed -p local" in done.stderr
    assert len(done.stderr.splitlines()) <= 24


@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (["embd"], "there is no command 'embd'", "did you mean embed?"),
        (["zzz"], "there is no command 'zzz'", "commands: embed"),
        (["embed", "--modle", "x"], "there is no option --modle", "did you mean --model?"),
        (["--confg", "x", "embed"], "there is no option --confg", "did you mean --config?"),
        (["embed", "-p", "opnai", "x"], "no provider 'opnai'", "did you mean openai?"),
        (["embed", "-d", "x", "y"], "'x' is not a whole number", "see: tovec embed -h"),
        (["embed", "--format", "parqet", "x"], "'parqet'", "one of: jsonl, parquet, npy"),
        (["models", "--format", "jsn"], "'jsn'", "did you mean json?"),
        (["models", "text-embedding-3-smal"], "smal'", "did you mean text-embedding-3-small?"),
        (["--log-format", "jsn", "models"], "'jsn'", "did you mean json?"),
        (["config", "chek"], "'chek'", "did you mean check?"),
        (["embed", "-o"], "option '-o' requires an argument", "see: tovec embed -h"),
    ],
)
def test_a_typo_gets_the_nearest_word_or_where_to_look(tovec, arguments, said, hint):
    done = tovec(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    lines = done.stderr.decode().splitlines()
    assert said in lines[0]
    assert hint in lines[-1]
    assert len(lines) <= 3


def test_help_starts_none_of_the_heavy_libraries():
    code = (
        "import sys; sys.argv = ['tovec', 'embed', '--help']\n"
        "from tovec.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'rich', 'httpx', 'numpy', 'pyarrow', 'tiktoken'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"
