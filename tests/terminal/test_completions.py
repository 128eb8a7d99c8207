"""TAB in the three shells: what is offered, and that nothing is started for it."""

import shutil

import pytest
from tools import generate

from tests.terminal.shells import SHELLS, Shell


@pytest.fixture(scope="module", params=SHELLS)
def shell(request, tmp_path_factory):
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    place = tmp_path_factory.mktemp(request.param)
    shell = Shell(request.param, place)
    (place / "work" / "rows.jsonl").touch()
    (place / "work" / "my rows.txt").touch()
    (place / "work" / "other").mkdir()
    yield shell
    shell.close()


@pytest.mark.parametrize(
    ("typed", "got"),
    [
        ("tovec emb\t", ["embed"]),
        ("tovec comp\tfi\t", ["completion", "fish"]),
        ("tovec embed --conc\t4", ["embed", "--concurrency", "4"]),
        ("tovec embed --prov\tloc\t", ["embed", "--provider", "local"]),
        ("tovec embed -p aiv\t", ["embed", "-p", "aivene"]),
        ("tovec embed --dtype=float1\t", ["embed", "--dtype", "float16"]),
        ("tovec embed --format pa\t", ["embed", "--format", "parquet"]),
        ("tovec models --format js\t", ["models", "--format", "json"]),
        ("tovec embed -m static\t", ["embed", "-m", "static-minilm-256"]),
        ("tovec models nug\t", ["models", "nugen-flash-embed"]),
        ("tovec embed -f ro\t", ["embed", "-f", "rows.jsonl"]),
        ("tovec embed --file my\t", ["embed", "--file", "my rows.txt"]),
        ("tovec embed -q -f ro\t-o out.n\t", ["embed", "-q", "-f", "rows.jsonl", "-o", "out.n"]),
        ("tovec --color alw\tmod\t", ["--color", "always", "models"]),
        ("tovec --config ro\temb\t", ["--config", "rows.jsonl", "embed"]),
        ("tovec -v conf\tche\t", ["-v", "config", "check"]),
        ("tovec embed --enc\trors=rep\t", ["embed", "--encodingrors=rep"]),
        (
            "tovec serve --api-key-env TOVEC_TEST\t",
            ["serve", "--api-key-env", "TOVEC_TEST_VARIABLE"],
        ),
        ("tovec embed -- --prov\t", ["embed", "--", "--prov"]),
        ("tovec embed -p none-suc\t", ["embed", "-p", "none-suc"]),
    ],
)
def test_tab_completes_without_starting_anything(shell, typed, got):
    given = [part for word in shell.run(typed) for part in word.split("=")]
    assert given == [part for word in got for part in word.split("=")]


def test_tab_twice_lists_what_there_is(shell):
    before = len(shell.console.seen)
    shell.console.type("tovec completion \t\t")
    for name in (b"bash", b"zsh", b"fish"):
        shell.console.wait_for(name, before)
    shell.console.type("\x15")  # Ctrl-U: an empty line again
    assert shell.run("tovec ready") == ["ready"]


@pytest.mark.parametrize("name", generate.files())
def test_generated_files_are_as_the_command_tree_makes_them(name):
    path = generate.ROOT / name
    assert path.read_text(encoding="utf-8") == generate.files()[name], (
        "run: python -m tools.generate"
    )


def test_nothing_is_left_over_of_commands_that_are_gone():
    found = {
        path for folder in ("completions", "man") for path in (generate.ROOT / folder).rglob("*.*")
    }
    found = {str(path.relative_to(generate.ROOT)) for path in found if path.is_file()}
    assert found <= set(generate.files())


@pytest.mark.parametrize("name", SHELLS)
def test_tovec_completion_prints_the_file(tovec, name):
    done = tovec("completion", name)
    (path,) = (generate.ROOT / "completions").glob({"zsh": "_tovec"}.get(name, f"*.{name}"))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == path.read_bytes()


def test_an_unknown_shell_is_named(tovec):
    done = tovec("completion", "fsh")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"did you mean fish?" in done.stderr
