"""Man pages: clean, readable, and complete."""

import shutil
import subprocess

import pytest
from tools import generate, manpages, prose

from tovec.cli.commands import program
from tovec.endpoint import providers
from tovec.records import Limits
from tovec.settings import Settings

PAGES = sorted(manpages.files())
PROGRAM = program()


def rendered(page: str) -> str:
    done = subprocess.run(
        ["man", "-l", str(generate.ROOT / page)],
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "LANG": "C.UTF-8", "MANPAGER": "cat"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == b""
    return done.stdout.decode()


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
@pytest.mark.parametrize("page", PAGES)
def test_mandoc_finds_nothing_to_complain_about(page):
    done = subprocess.run(
        ["mandoc", "-T", "lint", generate.ROOT / page], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == ""


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
@pytest.mark.parametrize("page", PAGES)
def test_man_shows_the_page_on_80_columns(page):
    text = rendered(page)
    title, section = page.rpartition("/")[2].rsplit(".", 1)
    assert text.startswith(f"{title.upper()}({section})")
    before, examples, after = text.partition("\nEXAMPLES\n")
    after = after[after.index("\nSEE ALSO\n") :]
    assert examples  # which are as wide as they are: they are there to be copied
    assert max(map(len, (before + after).splitlines())) <= 80


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
@pytest.mark.parametrize("command", [PROGRAM, *PROGRAM.commands], ids=lambda one: one.name)
def test_a_page_says_what_help_says(command):
    text = rendered(manpages.path(manpages.page(command)))
    words = " ".join(text.replace("\N{HYPHEN}\n", "").split())
    squeezed = words.replace(" ", "")
    for option in (*command.arguments, *command.options):
        assert option.spelling in words
        assert option.help.replace(" ", "") in squeezed
    for example in command.examples:
        assert all(line.strip() in text for line in example.splitlines())
    for code in prose.EXIT_STATUS:
        assert f" {code} " in words


def test_every_field_of_the_config_file_is_described():
    assert set(manpages.config_fields(PROGRAM)) == set(Settings._fields) - {"origins"}
    assert set(prose.PROVIDER) == providers._KNOWN
    assert set(prose.LIMITS) == set(Limits._fields)


def test_the_example_of_the_config_page_is_a_config(tovec, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(prose.CONFIG_EXAMPLE)
    done = tovec("--config", path, "config", "--format", "json")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"https://embeddings.example/v1" in done.stdout
    assert b"from a command" in done.stdout


def test_the_readme_names_the_same_exit_codes():
    readme = (generate.ROOT / "README.md").read_text()
    table = readme.partition("| exit | meaning |")[2].partition("\n\n")[0]
    codes = {code for line in table.splitlines()[2:] for code in line.split("|")[1].split(",")}
    known = {code for line in prose.EXIT_STATUS for code in line.split(",")}
    assert {code.strip() for code in codes} <= {code.strip() for code in known}
